"""Results as tables, for the terminal and for pages."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import goals
from benchmarks.contestants import YARDSTICK

BASELINES = ("torch fused", "torch foreach", "torch default")
"""torch's forms that ours is held against: the first that is there."""


class Block(NamedTuple):
    """A table: its title, its columns' names, its lines, and what is to be said below it."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def blocks(result: dict[str, Any]) -> Iterator[Block]:
    """Everything that a result shows."""
    if found := goals.goals(result):
        yield Block("Goals", goals.TITLES, [goal.cells() for goal in found])
    yield _limits(result)
    several = [
        (key, rows) for key, rows in studies(result) if key[1] != "adamw" and key[2] == "step" and rows[0]["seconds"]
    ]
    if several:
        yield _optimizers(result, several)
    for key, rows in studies(result):
        yield _study(key, rows, limit(result))
    if result.get("training"):
        yield _training(result["training"])
    if result.get("import"):
        yield _startup(result)


def limit(result: dict[str, Any]) -> float:
    """Bytes per second of the best stream of the run."""
    best: float = max(rate for limits in result["limits"] for rate in limits.values())
    return best


def studies(result: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str, str], list[dict[str, Any]]]]:
    """The rows by case, optimizer, operation and dtype, in the order in which they were measured."""
    grouped: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        grouped.setdefault((row["case"], row["optimizer"], row["operation"], row["dtype"]), []).append(row)
    yield from grouped.items()


def spread(seconds: Sequence[float]) -> float:
    """Half the distance between the quartiles, as a part of the median."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / 2 / middle


def _limits(result: dict[str, Any]) -> Block:
    when = ("GB/s before", "GB/s after")[: len(result["limits"])]
    lines = [[name, *(f"{limits[name] / 1e9:.1f}" for limits in result["limits"])] for name in result["limits"][0]]
    return Block("What memory does at best", ("stream", *when), lines)


def _optimizers(result: dict[str, Any], several: Sequence[tuple[tuple[str, ...], list[dict[str, Any]]]]) -> Block:
    """A line for each optimizer."""
    names = ("torch default", "torch foreach", "torch fused")
    lines = []
    for (case, optimizer, _, _), rows in several:
        own, others = rows[0], {row["contestant"]: row for row in rows[1:] if row["seconds"]}
        yardstick = others.pop(YARDSTICK.name, None)
        peers = [row for name, row in others.items() if not name.startswith(("torch", "ours"))]
        best = min(peers, key=lambda row: statistics.median(row["seconds"]), default=None)
        median = statistics.median(own["seconds"])
        rate = own["bytes"] / median
        lines.append(
            [
                optimizer + ("" if case in goals.LARGE.values() else f", {case}"),
                f"{median * 1e3:.2f}",
                f"{own['bytes'] / own['elements']:.0f}",
                f"{rate / 1e9:.1f}",
                f"{100 * rate / limit(result):.0f}",
                "–" if yardstick is None else f"{yardstick['speed'] * own['bytes'] / yardstick['bytes']:.2f}",
                *(f"{others[name]['speed']:.1f}×" if name in others else "–" for name in names),
                "–" if best is None else f"{best['speed']:.1f}× {best['contestant']}",
            ]
        )
    columns = ("optimizer", "ms", "bytes per element", "GB/s", "% of limit", "of fused AdamW's", *names, "best peer")
    return Block("Every optimizer on one large tensor: ours, and how many times faster it is", columns, lines)


COLUMNS = (
    *("contestant", "ms", "± %", "host µs", "GB/s", "% of limit", "ours beside it, ms", "ours is faster"),
    *("first s", "extra MB", "launches"),
)
"""``GB/s`` counts the fewest bytes that the update must move, whatever the contestant moves. ``ours is faster`` is the
median of the rounds' own ratios. ``first s`` is the first step's time in a process that has compiled other cases
before; ``extra MB`` what a step holds for a while."""


def _study(key: tuple[str, str, str, str], rows: Sequence[dict[str, Any]], best: float) -> Block:
    moved = max((row["bytes"] for row in rows if row["contestant"] != YARDSTICK.name), default=0)
    lines = [_line(row, moved, best) for row in rows]
    notes = [f"{row['contestant']} is wrong: {row['wrong']}" for row in rows if row["wrong"]]
    return Block(_title(key, rows), COLUMNS, lines, notes)


def _line(row: dict[str, Any], moved: int, best: float) -> list[str]:
    if row["wrong"]:
        return [row["contestant"], "wrong", *[""] * (len(COLUMNS) - 2)]
    if row["contestant"] == YARDSTICK.name:
        moved = row["bytes"]
    median = statistics.median(row["seconds"])
    backend = f" ({row['backend']})" if row["contestant"] == "ours" else ""
    return [
        row["contestant"] + backend,
        f"{median * 1e3:.3f}",
        f"{100 * spread(row['seconds']):.0f}",
        f"{statistics.median(row['host']) * 1e6:.0f}",
        f"{moved / median / 1e9:.1f}",
        f"{100 * moved / median / best:.0f}",
        *(("", "") if row["contestant"] == "ours" else _beside(row)),
        f"{row['first']:.2f}",
        f"{row['extra'] / 1e6:.1f}",
        "–" if row["launches"] is None else str(row["launches"]),
    ]


def _beside(row: dict[str, Any]) -> tuple[str, str]:
    return f"{statistics.median(row['ours']) * 1e3:.3f}", f"{row['speed']:.2f}×"


def _title(key: tuple[str, str, str, str], rows: Sequence[dict[str, Any]]) -> str:
    case, optimizer, operation, dtype = key
    first = rows[0]
    doing = {"step": "step", "clip": "clip + step", "unscale": "unscale + clip + step"}[operation]
    sets = f", {first['sets']} sets in turn" if first["sets"] > 1 else ""
    tensors = f"{first['tensors']:,} tensor{'s' if first['tensors'] > 1 else ''}"
    return f"{optimizer}, {case} ({tensors}, {first['elements']:,} elements, {dtype}{sets}): {doing}"


def _training(runs: Sequence[dict[str, Any]]) -> Block:
    lines = [
        [
            run["contestant"],
            f"{run['total']:.1f}",
            f"{run['step'] * 1e3:.1f}",
            f"{run['update'] * 1e3:.2f}",
            f"{100 * run['share']:.1f}",
            f"{run['first']:.2f}",
            f"{run['final_loss']:.4f}",
        ]
        for run in runs
        if "skipped" not in run
    ]
    columns = ("contestant", "total s", "step ms", "clip + update ms", "% of the step", "first step s", "final loss")
    notes = [f"{run['contestant']} is left out: {run['skipped']}" for run in runs if "skipped" in run]
    return Block("A GPT trained by AdamW, a step each in turn", columns, lines, notes)


def _startup(result: dict[str, Any]) -> Block:
    imports, host = result["import"], result.get("host")
    lines = [
        ["import torch", f"{imports['torch'] * 1e3:.0f} ms"],
        ["import torchopt_notes, after torch", f"{imports['package'] * 1e3:.1f} ms"],
        ["torchopt_notes and AdamW of it, after torch", f"{imports['with an optimizer'] * 1e3:.1f} ms"],
    ]
    if host is not None:
        what = f"host time of a Triton step, launch left out, {host['tensors']:,} tensors, for each"
        lines.append([what, f"{host['steady'] * 1e6:.2f} µs"])
        lines.append([f"{what}, with gradients that have moved", f"{host['moving'] * 1e6:.2f} µs"])
    for name, seconds in result.get("first step", {}).items():
        lines.append([f"first step of AdamW, nothing compiled before: {name}", f"{seconds:.2f} s"])
    return Block("Paid once, and on the host", ("what", "time"), lines)


def show(result: dict[str, Any], console: Console) -> None:
    """Prints everything."""
    for block in blocks(result):
        made = Table(title=block.title, title_justify="left")
        for number, name in enumerate(block.columns):
            made.add_column(name, justify="right" if number else "left")
        for line in block.lines:
            made.add_row(*line)
        console.print(made)
        for note in block.notes:
            console.print(f"  {note}", highlight=False, soft_wrap=True)
    for reason, names in reasons(result["skipped"]):
        console.print(f"Left out: {', '.join(names)}: {reason}", highlight=False, soft_wrap=True, style="yellow")


def markdown(result: dict[str, Any], heading: str = "##") -> str:
    """The same as a part of a page."""
    parts = []
    for block in blocks(result):
        parts += [
            f"{heading} {block.title}",
            table(block.columns, block.lines),
            *[note.replace("|", "\\|") for note in block.notes],
        ]
    if left_out := reasons(result["skipped"]):
        parts.append(f"{heading} Left out")
        parts.append("\n".join(f"- {', '.join(names)}: {reason}" for reason, names in left_out))
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown, the first column to the left."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *lines))


def reasons(skipped: Iterable[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Who was left out, by reason."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for one in skipped:
        found.setdefault(one["reason"], {}).setdefault(one["contestant"], {})[one["optimizer"]] = None
    return [(reason, [f"{who} ({', '.join(what)})" for who, what in names.items()]) for reason, names in found.items()]
