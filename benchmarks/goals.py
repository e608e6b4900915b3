"""What this package sets out to reach, and whether a result shows it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import YARDSTICK

FUSED_ON_CPU = ("adamw", "adam", "adagrad", "sgd")
ON_GPU = ("nadam", "radam", "rmsprop", "adadelta", "lamb", "lion")
LARGE = {"cpu": "one-20m", "cuda": "one-200m"}
"""The case in which every optimizer is measured."""

NOT_PEERS = ("ours", "ours eager", "torch default", "torch for-loop", YARDSTICK.name)


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    Attributes:
        what: measured how, against whom.
        bar: the figure to reach.
        measured: the figure that was reached.
        at_most: whether less is better.
        unit: of both.
    """

    what: str
    bar: float
    measured: float
    at_most: bool = False
    unit: str = "×"

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar

    def cells(self) -> list[str]:
        """The line's text."""
        sign = "≤" if self.at_most else "≥"
        return [
            self.what,
            f"{sign} {self.bar:g}{self.unit}",
            f"{self.measured:.3g}{self.unit}",
            "yes" if self.met else "no",
        ]


TITLES = ("goal", "bar", "measured", "met")


def goals(result: dict[str, Any]) -> list[Goal]:
    """Those for which a result has figures; none for small likenesses."""
    if result["quick"]:
        return []
    rows = _Rows(result)
    return list(_on_gpu(rows) if result["device"] == "cuda" else _on_cpu(rows, result))


class _Rows:
    """A result's rows by what was measured."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.limit = max(limits.get("copy", 0.0) for limits in result["limits"])
        self.rows = [row for row in result["rows"] if row["seconds"]]

    def find(self, case: str, optimizer: str, contestant: str, operation: str = "step") -> dict[str, Any] | None:
        key = (case, optimizer, contestant, operation)
        names = ("case", "optimizer", "contestant", "operation")
        return next((row for row in self.rows if tuple(row[name] for name in names) == key), None)

    def speed(
        self, bar: float, case: str, optimizer: str, contestant: str, operation: str = "step", what: str = ""
    ) -> Iterator[Goal]:
        """How many times faster ours is."""
        row = self.find(case, optimizer, contestant, operation)
        if row is not None:
            doing = {"step": "", "clip": ", clip + step", "unscale": ", unscale + clip + step"}[operation]
            yield Goal(what or f"{optimizer}, {case}{doing}: speed against {contestant}", bar, row["speed"])

    def optimizers(self, case: str) -> list[str]:
        return list(dict.fromkeys(row["optimizer"] for row in self.rows if row["case"] == case))


def _on_cpu(rows: _Rows, result: dict[str, Any]) -> Iterator[Goal]:
    large = LARGE["cpu"]
    for name in FUSED_ON_CPU:
        yield from rows.speed(1.0, large, name, "torch fused")
    for name in rows.optimizers(large):
        if name not in FUSED_ON_CPU:
            yield from _bandwidth(rows, large, name)
            yield from rows.speed(4.0, large, name, "torch default")
    yield from rows.speed(1.0, "gpt2-124m", "adamw", "torch fused")
    yield from rows.speed(6.0, "gpt2-124m", "adamw", "torch default")
    yield from rows.speed(1.0, "tiny-2000", "adamw", "torch fused")
    yield from rows.speed(1.25, large, "adamw", "torch fused", "clip")
    if linear := result.get("linearity"):
        yield Goal("adamw: time per element at 200 M over that at 20 M", 1.15, linear["ratio"], at_most=True)
    if host := result.get("host"):
        what = f"host time of a Triton step, launch left out, {host['tensors']:,} tensors"
        yield Goal(f"{what}: per tensor, nothing moved", 0.5, host["steady"] * 1e6, at_most=True, unit=" µs")
        yield Goal(f"{what}: per tensor, gradients moved", 1.0, host["moving"] * 1e6, at_most=True, unit=" µs")
    if startup := result.get("import"):
        both = startup["with an optimizer"] * 1e3
        yield Goal("importing the package and an optimizer, after torch", 50, both, at_most=True, unit=" ms")


def _bandwidth(rows: _Rows, case: str, optimizer: str) -> Iterator[Goal]:
    """Bytes per second, against those of torch's fused AdamW in the same rounds."""
    own, yardstick = rows.find(case, optimizer, "ours"), rows.find(case, optimizer, YARDSTICK.name)
    if own is not None and yardstick is not None:
        ratio = yardstick["speed"] * own["bytes"] / yardstick["bytes"]
        yield Goal(f"{optimizer}, {case}: bytes per second against fused AdamW", 0.85, ratio)


def _on_gpu(rows: _Rows) -> Iterator[Goal]:
    large = LARGE["cuda"]
    if (own := rows.find(large, "adamw", "ours")) is not None and rows.limit:
        part = own["bytes"] / statistics.median(own["seconds"]) / rows.limit
        yield Goal(f"adamw, {large}: bytes per second against a copy", 0.95, part)
    yield from rows.speed(1.0, large, "adamw", "torch fused")
    yield from rows.speed(1.3, large, "adamw", "torch fused", "clip")
    for name in ON_GPU:
        found = [row for row in rows.rows if (row["case"], row["optimizer"], row["operation"]) == (large, name, "step")]
        best = min((row for row in found if row["contestant"] not in NOT_PEERS), key=_median, default=None)
        if best is not None:
            yield Goal(f"{name}, {large}: speed against {best['contestant']}", 3.0, best["speed"])
    own = rows.find("resnet-101", "adamw", "ours")
    if own is not None and own["launches"] is not None:
        yield Goal("adamw, resnet-101: launches per step", 1, float(own["launches"]), at_most=True, unit="")
    yield from rows.speed(1.0, "resnet-101", "adamw", "torch fused")
    yield from rows.speed(1.5, "resnet-101", "adamw", "torch foreach")


def _median(row: dict[str, Any]) -> float:
    seconds: list[float] = row["seconds"]
    return statistics.median(seconds)
