"""What moved between two results, beyond the noise that each of them measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KEY = ("case", "optimizer", "operation", "device", "dtype", "contestant", "elements")
RESAMPLES = 4_000
LEVEL = 0.999
"""Of the interval that must not reach 1. A result has hundreds of rows; one in a thousand moves by chance."""

SMALLEST = 0.02
"""Less than this part of the time is not worth a line, however sure it is."""


@dataclass(frozen=True)
class Move:
    """A row in which ours has become faster or slower against the contestant.

    Attributes:
        key: what was measured.
        change: the new speed of ours against the contestant over the old one.
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
        case, optimizer, operation, _, dtype, contestant, _ = self.key
        what = f"{optimizer}, {case}, {operation}, {dtype}"
        direction = "faster" if self.better else "slower"
        size = self.change if self.better else 1 / self.change
        return f"{what}: {size:.2f} times {direction} against {contestant} (between {self.low:.2f} and {self.high:.2f})"


def load(path: Path) -> dict[str, Any]:
    """A result.

    Raises:
        ValueError: for a file that is none.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # no text, or no JSON
        raise ValueError(f"{path} is no result of a benchmark: {error}") from error
    if not isinstance(found, dict) or "rows" not in found:
        raise ValueError(f"{path} is no result of `python -m benchmarks --out DIR`: it has no rows")
    return found


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Move]:
    """What moved, the worst first.

    Rows that only one of them has are left out, and ours alone: its seconds are those of the machine at that moment,
    and what they are worth is in the other rows.
    """
    before = {_key(row): row for row in _measured(old)}
    moves = []
    for row in _measured(new):
        if (earlier := before.get(_key(row))) is not None:
            move = _move(_key(row), earlier, row)
            if not move.low <= 1 <= move.high and abs(math.log(move.change)) > SMALLEST:
                moves.append(move)
    return sorted(moves, key=lambda move: move.change)


def _measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["seconds"] and row["contestant"] != "ours"]


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _speeds(row: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Of every round: how many times faster ours is."""
    speeds: npt.NDArray[np.float64] = np.array(row["seconds"]) / np.array(row["ours"])
    return speeds


def _move(key: tuple[str, ...], old: dict[str, Any], new: dict[str, Any]) -> Move:
    before, after = _speeds(old), _speeds(new)
    chance = np.random.default_rng(0)
    changes = _resampled(after, chance) / _resampled(before, chance)
    low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Move(key, float(np.median(after) / np.median(before)), float(low), float(high))


def _resampled(values: npt.NDArray[np.float64], chance: np.random.Generator) -> npt.NDArray[np.float64]:
    """The medians of as many samples, drawn anew from these again and again."""
    medians: npt.NDArray[np.float64] = np.median(chance.choice(values, (RESAMPLES, len(values))), axis=1)
    return medians


def text(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What to print."""
    if old["machine"].get("gpu", old["machine"]["cpu"]) != new["machine"].get("gpu", new["machine"]["cpu"]):
        yield "These are results of different machines: only what is held against others can be compared."
    earlier = {_key(row) for row in _measured(old)}
    both = earlier & {_key(row) for row in _measured(new)}
    if not both:
        yield "The two results have no row in common."
    moves = compare(old, new)
    if both and not moves:
        yield f"Nothing moved beyond the noise, in {len(both)} rows."
    for move in moves:
        yield str(move)
    right = {_key(row) for row in old["rows"] if not row["wrong"]}
    for row in new["rows"]:
        if row["wrong"] and _key(row) in right:
            yield f"Right before, and wrong now: {', '.join(_key(row))}: {row['wrong']}"
    for key in sorted(earlier - both):
        yield f"No longer measured: {', '.join(key)}"
