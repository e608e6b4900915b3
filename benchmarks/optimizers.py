"""How near every optimizer's step on the compiled backend comes to what moving its bytes must take.

``python -m benchmarks.optimizers`` prints a row for each optimizer of the registry: the time of a step, the fewest
bytes that it must read and write, and how many of these it moves per second, against ``torch.optim.AdamW(fused=True)``
on a tensor of the same size, taking turns. ``--out FILE`` writes every figure as JSON, and the table beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import torchopt_notes
from benchmarks.foundation import LARGE, cpu_name
from benchmarks.timing import interleave, ratio, summary
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing.matrix import FP32, hole, required

FLAGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}
"""What is measured with other arguments than the defaults: plain SGD has no state to update."""

COLUMNS = 4_000
"""The tensor is a matrix: some optimizers keep one number per row and column of it."""

FEWER = 4
"""torch's default form is slow, and its ratio large: it gets one round for so many of the others."""


def minimal_bytes(optimizer: torch.optim.Optimizer) -> int:
    """The fewest bytes that a step must move: gradients read; parameters and states read and written.

    Where norms decide about the update, what both need is read twice, once before the norms are known and once after;
    and gradients whose rows and columns are averaged once more. Call it after a step, when the states exist. Numbers
    of the step (0-d states) do not count.
    """
    total = 0
    for group in optimizer.param_groups:
        for param in (param for param in group["params"] if param.grad is not None):
            states = {name: v for name, v in optimizer.state[param].items() if isinstance(v, torch.Tensor) and v.dim()}
            sizes = {"param": param.nbytes, "grad": param.grad.nbytes} | {n: v.nbytes for n, v in states.items()}
            total += param.nbytes + sum(sizes[name] for name in states) + _read(optimizer, group, param, sizes)
    return total


def _read(optimizer: torch.optim.Optimizer, group: dict[str, Any], param: torch.Tensor, sizes: dict[str, int]) -> int:
    rule = None
    if isinstance(optimizer, torchopt_notes.Optimizer):
        rule = optimizer.param_variant(optimizer.variant(group), group, param).rule
    if rule is None or rule.norms is None:
        return sum(sizes.values())
    before = {*rule.norms.measured, *(sizes.keys() - {"param", "grad"} if rule.norms.advances else ())}
    factors = sizes["grad"] if rule.span == "matrix" else 0
    return factors + sum(sizes.get(name, 0) for name in (*before, *rule.norms.updated))


def make(elements: int) -> list[torch.nn.Parameter]:
    """A parameter with a gradient. Not zeros: those can be faster."""
    param = torch.nn.Parameter(torch.randn(elements // COLUMNS, COLUMNS))
    param.grad = torch.randn_like(param)
    return [param]


def measure(name: str, elements: int, rounds: int, fused: torch.optim.Optimizer) -> dict[str, Any]:
    """One optimizer's row. ``fused`` is torch's AdamW, on a tensor of its own."""
    cls = optimizers()[name]
    kwargs = {**required(cls), **FLAGS.get(name, {})}
    construct: Any = cls
    optimizer = construct(make(elements), backend="compiled", **kwargs)
    seconds = interleave({"ours": optimizer.step, "fused AdamW": fused.step}, rounds)
    moved, fused_moved = minimal_bytes(optimizer), minimal_bytes(fused)
    median = summary(seconds["ours"])["median"]
    row: dict[str, Any] = {
        "optimizer": cls.__name__,
        "arguments": kwargs,
        "seconds": {contestant: summary(values) for contestant, values in seconds.items()},
        "bytes": moved,
        "bytes per element": moved / elements,
        "GB/s": moved / median / 1e9,
        "bandwidth against fused AdamW": ratio(seconds, "fused AdamW", "ours") * moved / fused_moved,
        "raw": seconds,
    }
    if cls.counterpart is not None:
        theirs: Any = cls.counterpart
        default = interleave(
            {"default": theirs(make(elements), **kwargs).step, "ours": optimizer.step}, max(rounds // FEWER, 2), 1
        )
        row["seconds"]["default"] = summary(default["default"])
        row["speed against default"] = ratio(default, "default", "ours")
        row["raw"]["default"] = default
    return row


TITLES = ("optimizer", "ms", "bytes per element", "GB/s", "GB/s / fused AdamW's", "speed / torch's default")


def lines(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The table's rows, as text."""
    for row in results["rows"]:
        flags = ", ".join(f"{name}={value}" for name, value in row["arguments"].items())
        speed = row.get("speed against default")
        yield (
            row["optimizer"] + (f" ({flags})" if flags else ""),
            f"{row['seconds']['ours']['median'] * 1e3:.2f}",
            f"{row['bytes per element']:.0f}",
            f"{row['GB/s']:.1f}",
            f"{row['bandwidth against fused AdamW']:.2f}",
            "–" if speed is None else f"{speed:.1f}x",
        )


def caption(results: dict[str, Any]) -> str:
    """What was measured, and where."""
    machine = results["machine"]
    return (
        f"One fp32 tensor of {results['elements']:,} on {machine['cpu']}, {machine['threads']} threads, "
        f"torch {results['versions']['torch']}"
    )


def markdown(results: dict[str, Any]) -> str:
    """The table for a page."""
    rows = [TITLES, ("---", *["---:"] * (len(TITLES) - 1)), *lines(results)]
    return "\n".join([f"{caption(results)}.", "", *[f"| {' | '.join(row)} |" for row in rows]]) + "\n"


def show(results: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table(title=caption(results))
    table.add_column(TITLES[0])
    for title in TITLES[1:]:
        table.add_column(title, justify="right")
    for line in lines(results):
        table.add_row(*line)
    console.print(table)
    for name, reason in results["left out"].items():
        console.print(f"Left out: {name}, {reason}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    known = optimizers()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--elements", type=int, default=LARGE, help=f"of the tensor, in rows of {COLUMNS} (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=41, help="timed steps per contestant (default: %(default)s)")
    parser.add_argument("--optimizers", nargs="+", choices=list(known), default=list(known), metavar="NAME")
    parser.add_argument("--out", type=Path, help="write every figure to this JSON file, and the table beside it")
    chosen = parser.parse_args(arguments)
    holes = {name: hole(known[name], "compiled", FP32) for name in chosen.optimizers}
    elements = max(chosen.elements // COLUMNS, 1) * COLUMNS
    fused = torch.optim.AdamW(make(elements), fused=True)
    results: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "threads": torch.get_num_threads(), "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchopt_notes": torchopt_notes.__version__},
        "elements": elements,
        "left out": {known[name].__name__: reason for name, reason in holes.items() if reason is not None},
        "rows": [measure(name, elements, chosen.rounds, fused) for name, reason in holes.items() if reason is None],
    }
    show(results, Console())
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")
        chosen.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
