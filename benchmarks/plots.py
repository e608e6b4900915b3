"""Results as figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.report import BASELINES, limit, studies


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draws what there is data for, as SVG."""
    made = []
    for name, figure in (
        ("speed", speeds(result)),
        ("limit", limits(result)),
        ("elements", curve(result, "elements")),
        ("tensors", curve(result, "tensors")),
    ):
        if figure is not None:
            path = folder / f"{name}.svg"
            with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
                figure.savefig(path, metadata={"Date": None})
            made.append(path)
    return made


def speeds(result: dict[str, Any]) -> Figure | None:
    """Bars: how many times faster than torch's form named behind the slash ours is."""
    bars = []
    for (case, optimizer, operation, _), rows in studies(result):
        right = {row["contestant"]: row for row in rows if row["seconds"]}
        baseline = next((name for name in BASELINES if name in right), None)
        if baseline is not None:
            what = f"{optimizer}, {case}" + ("" if operation == "step" else f", {operation}")
            bars.append((f"{what} / {baseline.removeprefix('torch ')}", right[baseline]["speed"]))
    if not bars:
        return None
    figure = Figure(figsize=(9, 0.9 + 0.24 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names, values = zip(*reversed(bars), strict=True)
    axes.barh(names, values, color=["tab:blue" if value >= 1 else "tab:red" for value in values])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than torch.optim: fused, or else foreach, or else the default")
    return figure


def limits(result: dict[str, Any]) -> Figure | None:
    """Bars: what part of the measured bandwidth each optimizer's fewest bytes come to per second."""
    best = limit(result)
    bars = []
    for (case, optimizer, operation, _), rows in studies(result):
        if operation == "step" and rows[0]["seconds"] and rows[0]["bytes"]:
            part = rows[0]["bytes"] / statistics.median(rows[0]["seconds"]) / best
            bars.append((f"{optimizer}, {case}", 100 * part))
    if not bars:
        return None
    figure = Figure(figsize=(9, 0.9 + 0.24 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names, values = zip(*reversed(bars), strict=True)
    axes.barh(names, values)
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_xlabel("% of the best stream measured in the same run")
    return figure


def curve(result: dict[str, Any], along: str) -> Figure | None:
    """Time against elements or tensors, both axes logarithmic."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in result["curves"][along]:
        if row["seconds"]:
            points.setdefault(row["contestant"], []).append((row[along], statistics.median(row["seconds"])))
    if not points:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, line in points.items():
        axes.plot(*zip(*sorted(line), strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel=along, ylabel="seconds per step")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
