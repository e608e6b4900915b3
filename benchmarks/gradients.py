"""What clipping and AMP cost when they are part of the step, against ``torch.nn.utils`` and ``torch.amp`` before it.

``python -m benchmarks.gradients`` prints the table; ``--out FILE`` writes every figure as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import torchopt_notes
from benchmarks.foundation import LARGE, SMALL, cpu_name, make
from benchmarks.timing import interleave, ratio, summary

MAX_NORM = 1.0
SLOW = 9
"""Rounds in which torch's default, tens of times slower than the others, takes part."""


def clipping(sizes: list[int], backend: str, rounds: int) -> dict[str, Any]:
    """AdamW with gradients clipped by their norm."""
    contestants = {
        "ours": torchopt_notes.AdamW(make(sizes), backend=backend, max_grad_norm=MAX_NORM),
        "ours without clipping": torchopt_notes.AdamW(make(sizes), backend=backend),
        "fused": torch.optim.AdamW(make(sizes), fused=True),
        "default": torch.optim.AdamW(make(sizes)),
    }
    steps: dict[str, Callable[[], object]] = {
        name: optimizer.step if "ours" in name else clip_and_step(optimizer) for name, optimizer in contestants.items()
    }
    return {"what": "clip, step", **compare(steps, sizes, rounds)}


def mixed_precision(sizes: list[int], backend: str, rounds: int) -> dict[str, Any]:
    """The same under a gradient scaler, which unscales gradients before they are clipped."""
    ours = torchopt_notes.AdamW(make(sizes), backend=backend, max_grad_norm=MAX_NORM)
    steps = {
        "ours": scaled_step(ours, clip=False),
        "fused": scaled_step(torch.optim.AdamW(make(sizes), fused=True), clip=True),
        "default": scaled_step(torch.optim.AdamW(make(sizes)), clip=True),
    }
    return {"what": "unscale, clip, step", **compare(steps, sizes, rounds)}


def clip_and_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The usual two lines."""
    params = optimizer.param_groups[0]["params"]

    def run() -> None:
        torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        optimizer.step()

    return run


def scaled_step(optimizer: torch.optim.Optimizer, *, clip: bool) -> Callable[[], object]:
    """The usual lines with a scaler. Gradients were not scaled: what matters here is what is read and written."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0, growth_interval=1_000_000)
    params = optimizer.param_groups[0]["params"]
    loss = torch.zeros(())

    def run() -> None:
        scaler.scale(loss)
        if clip:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        scaler.step(optimizer)
        scaler.update()

    return run


def compare(steps: dict[str, Callable[[], object]], sizes: list[int], rounds: int) -> dict[str, Any]:
    """All but torch's default take turns; that then takes turns with ours."""
    default = steps.pop("default")
    seconds = interleave(steps, rounds)
    slow = interleave({"ours": steps["ours"], "default": default}, min(rounds, SLOW), warm_up=1)
    return {
        "tensors": len(sizes),
        "elements": sum(sizes),
        "seconds": {name: summary(values) for name, values in (*seconds.items(), ("default", slow["default"]))},
        "speed against fused": ratio(seconds, "fused", "ours"),
        "speed against default": ratio(slow, "default", "ours"),
        "raw": {**seconds, "against default": slow},
    }


TITLES = ("AdamW", "tensors", "ours, ms", "fused, ms", "default, ms", "speed / fused", "speed / default")


def lines(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The table's rows, as text."""
    for row in results["rows"]:
        times = [f"{row['seconds'][name]['median'] * 1e3:.2f}" for name in ("ours", "fused", "default")]
        speeds = [f"{row[f'speed against {name}']:.2f}x" for name in ("fused", "default")]
        yield row["what"], f"{row['tensors']:,} × {row['elements'] // row['tensors']:,}", *times, *speeds


def caption(results: dict[str, Any]) -> str:
    """Where this was measured."""
    machine = results["machine"]
    return f"fp32 on {machine['cpu']}, {machine['threads']} threads, torch {results['versions']['torch']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradients", description=description)
    parser.add_argument("--elements", type=int, default=LARGE, help="of the large tensor (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=31, help="timed steps per contestant (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write every figure to this JSON file, and the table beside it")
    chosen = parser.parse_args(arguments)
    cases = (([chosen.elements], "compiled"), ([SMALL[1]] * SMALL[0], "auto"))
    results: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "threads": torch.get_num_threads(), "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchopt_notes": torchopt_notes.__version__},
        "rows": [
            contest(sizes, backend, chosen.rounds)
            for contest in (clipping, mixed_precision)
            for sizes, backend in cases
        ],
    }
    table = Table(title=caption(results))
    for title in TITLES:
        table.add_column(title, justify="left" if title == TITLES[0] else "right")
    for line in lines(results):
        table.add_row(*line)
    Console().print(table)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")
        rows = [TITLES, ("---", *["---:"] * (len(TITLES) - 1)), *lines(results)]
        text = [f"{caption(results)}.", "", *[f"| {' | '.join(row)} |" for row in rows]]
        chosen.out.with_suffix(".md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
