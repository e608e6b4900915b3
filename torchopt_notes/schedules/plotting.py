"""Figures of schedules and of range tests. Only who plots needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .range_test import RangeTest
    from .schedule import Schedule

MOST_POINTS = 2001
"""More points than a figure has pixels show nothing more."""

LONGEST_TITLE = 80


def plot_schedule(schedule: Schedule | Callable[[int], float], steps: int, *, base: float = 1.0) -> Figure:
    """A line of ``base * schedule(step)`` at the steps 0 to ``steps``.

    From 2001 steps on, at 2001 of them, evenly spaced.

    Args:
        schedule: a schedule, or another callable that takes a step.
        steps: the last step shown, ≥ 1.
        base: what the multipliers are multiplied with, such as a learning rate. Default 1: the multipliers themselves.

    Returns:
        A figure that pyplot knows nothing of: ``figure.savefig("schedule.png")`` writes it, notebooks show it.

    Raises:
        ImportError: if matplotlib is missing; the extra ``cli`` brings it.
        TypeError: for something that is no number, or no schedule.
        ValueError: for ``steps`` that is not a whole number ≥ 1, or a base that is not finite.

    >>> from torchopt_notes import schedules as S
    >>> figure = plot_schedule(S.cosine(100), 100, base=0.1)
    >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
    ('cosine(100)', 'value')
    """
    if not callable(schedule):
        raise TypeError(f"plot: {schedule!r} is no schedule")
    checks.steps("plot", least=1, steps=steps)
    if steps % 1:
        raise ValueError(f"plot: steps must be a whole number, got {steps!r}")
    factor = checks.number("plot", "base", base)
    last = int(steps)
    shown = np.unique(np.linspace(0, last, min(last + 1, MOST_POINTS)).round().astype(np.int64)).tolist()

    figure, axes = _axes()
    axes.plot(shown, [factor * schedule(step) for step in shown])
    axes.set_xlabel("step")
    axes.set_ylabel("multiplier" if factor == 1 else "value")
    title = repr(schedule)
    if len(title) <= LONGEST_TITLE:
        axes.set_title(title)
    return figure


def plot_range_test(result: RangeTest) -> Figure:
    """The losses of a range test and their smoothed course over the learning rate, with the suggestion marked.

    Raises:
        ImportError: if matplotlib is missing; the extra ``cli`` brings it.

    >>> from torchopt_notes.schedules import RangeTest
    >>> figure = plot_range_test(RangeTest((0.1, 1.0), (2.0, 1.0), (2.0, 1.5)))
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure, axes = _axes()
    axes.plot(result.lrs, result.losses, color="C0", alpha=0.3, label="loss")
    axes.plot(result.lrs, result.smoothed, color="C0", label="smoothed")
    if result.suggestion is not None:
        axes.axvline(result.suggestion, color="C1", linestyle="--", label=f"suggestion {result.suggestion:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    _limit(axes, result)
    axes.legend()
    return figure


def _limit(axes: Axes, result: RangeTest) -> None:
    """The loss that ended the test may be larger than all others by many orders of magnitude."""
    before = result.smoothed[:-1] if result.diverged else result.smoothed
    values = [value for value in before if math.isfinite(value)]
    if not values or min(values) == max(values):
        return
    margin = 0.1 * (max(values) - min(values))
    axes.set_ylim(min(values) - margin, max(values) + margin)


def _axes() -> tuple[Figure, Any]:
    # Not pyplot: it would pick a window system, and keep every figure alive until it is closed.
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "to plot needs matplotlib, which the extra `cli` of torchopt-notes brings: "
            "pip install 'torchopt-notes[cli]'"
        ) from error
    figure = Figure(layout="constrained")
    return figure, figure.subplots()
