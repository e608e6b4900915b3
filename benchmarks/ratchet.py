"""What moved between two results, beyond the noise that each of them measured."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = ("case", "optimizer", "operation", "device", "dtype", "contestant")
RESAMPLES = 400
LEVEL = 0.999
"""Of the interval that must not reach 1. A result has hundreds of rows; one in a thousand moves by chance."""

SMALLEST = 0.02
"""Less than this part of the time is not worth a line, however sure it is."""


@dataclass(frozen=True)
class Move:
    """A row whose speed relative to the baseline's contestant has changed.

    Attributes:
        key: what was measured.
        change: the new speed of ours against the contestant over the old one; of ours itself, the old time over the
            new.
        low, high: the interval that it lies in, by resampling both results' rounds.
    """

    key: tuple[str, ...]
    change: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether ours is faster than before."""
        return self.change > 1

    def __str__(self) -> str:
        case, optimizer, operation, _, dtype, contestant = self.key
        what = f"{optimizer}, {case}, {operation}, {dtype}"
        against = "in seconds" if contestant == "ours" else f"against {contestant}"
        direction = "faster" if self.better else "slower"
        size = self.change if self.better else 1 / self.change
        return f"{what}: {size:.2f} times {direction} {against} (between {self.low:.2f} and {self.high:.2f})"


def load(path: Path) -> dict[str, Any]:
    """A result.

    Raises:
        ValueError: for a file that is none.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no result of a benchmark: {error}") from error
    if not isinstance(found, dict) or "rows" not in found:
        raise ValueError(f"{path} is no result of `python -m benchmarks --out DIR`: it has no rows")
    return found


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Move]:
    """What moved, the worst first. Rows that only one of them has are left out."""
    before = {_key(row): row for row in old["rows"] if row["seconds"]}
    moves = []
    for row in new["rows"]:
        if row["seconds"] and (earlier := before.get(_key(row))) is not None:
            move = _move(_key(row), earlier, row)
            if not move.low <= 1 <= move.high and abs(math.log(move.change)) > SMALLEST:
                moves.append(move)
    return sorted(moves, key=lambda move: move.change)


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _speeds(row: dict[str, Any]) -> list[float]:
    """Of every round: how many times faster ours is; without another contestant, one over its seconds."""
    if row["contestant"] == "ours":
        return [1 / seconds for seconds in row["seconds"]]
    return [theirs / ours for theirs, ours in zip(row["seconds"], row["ours"], strict=True)]


def _move(key: tuple[str, ...], old: dict[str, Any], new: dict[str, Any]) -> Move:
    before, after = _speeds(old), _speeds(new)
    chance = random.Random(0)
    ratios = sorted(_resampled(after, chance) / _resampled(before, chance) for _ in range(RESAMPLES))
    edge = int(RESAMPLES * (1 - LEVEL) / 2)
    change = statistics.median(after) / statistics.median(before)
    return Move(key, change, ratios[edge], ratios[-1 - edge])


def _resampled(values: Sequence[float], chance: random.Random) -> float:
    return statistics.median(chance.choices(values, k=len(values)))


def text(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What to print."""
    if old["machine"].get("gpu", old["machine"]["cpu"]) != new["machine"].get("gpu", new["machine"]["cpu"]):
        yield "These are results of different machines: only what is held against others can be compared."
    both = {_key(row) for row in old["rows"]} & {_key(row) for row in new["rows"]}
    if not both:
        yield "The two results have no row in common."
    moves = compare(old, new)
    if both and not moves:
        yield f"Nothing moved beyond the noise, in {len(both)} rows."
    for move in moves:
        yield str(move)
    missing = {_key(row) for row in old["rows"]} - both
    for key in sorted(missing):
        yield f"No longer measured: {', '.join(key)}"
