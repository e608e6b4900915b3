"""Interleaved timing: contestants take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleave(
    contestants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3
) -> dict[str, list[float]]:
    """Seconds of every call, by contestant. Each round calls each of them once, in turn."""
    for _ in range(warm_up):
        for step in contestants.values():
            step()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and the quartiles around it."""
    low, median, high = statistics.quantiles(seconds, n=4)
    return {"median": median, "quartile1": low, "quartile3": high}


def ratio(seconds: Mapping[str, list[float]], baseline: str, name: str) -> float:
    """How many times faster ``name`` is than ``baseline``: the median of the rounds' own ratios."""
    return statistics.median(b / s for b, s in zip(seconds[baseline], seconds[name], strict=True))
