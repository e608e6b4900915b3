"""Ways up and ways down, to be put before and after something else, and the whole of both."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from . import checks
from .schedule import Schedule
from .shapes import line, wave

WARMUPS = ("linear", "cosine", "exponential")
COOLDOWNS = ("linear", "cosine", "1-sqrt")


@dataclass(frozen=True, repr=False)
class warmup(Schedule):
    r"""From a small multiplier up to 1. Then let something follow: ``S.warmup(500) >> S.cosine(9_500)``.

    Args:
        steps: T ≥ 0, after which the multiplier is 1. 0: no warm-up.
        start: the multiplier at step 0. Default: 0, as is usual, so that step 0 changes nothing (``1 / steps`` avoids
            it); 0.001 for the exponential shape, which never leaves 0.
        shape: ``"linear"`` (default), ``"cosine"`` (gentle at both ends) or ``"exponential"``
            (:math:`\text{start}^{1 - t / T}`: the same factor in every step).

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, an unknown shape, or an exponential one from ``start`` ≤ 0.

    >>> warmup(4)([0, 1, 4, 5]).tolist()
    [0.0, 0.25, 1.0, 1.0]
    >>> round(warmup(2, start=0.01, shape="exponential")(1), 12)
    0.1
    """

    steps: float
    start: float | None = None
    _: KW_ONLY
    shape: str = "linear"

    def _check(self) -> None:
        checks.steps("warmup", steps=self.steps)
        checks.one_of("warmup", "shape", self.shape, WARMUPS)
        if self.start is not None:
            checks.finite("warmup", start=self.start)
            if self.shape == "exponential" and self.start <= 0:
                raise ValueError(f"warmup: start must be > 0 for the exponential shape, got {self.start!r}")

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        if self.shape == "exponential":
            start = 0.001 if self.start is None else self.start
            return float(start ** (1.0 - step / self.steps)) if step < self.steps else 1.0
        start = 0.0 if self.start is None else self.start
        return (line if self.shape == "linear" else wave)(step, self.steps, start, 1.0)


@dataclass(frozen=True, repr=False)
class cooldown(Schedule):
    r"""From 1 down to ``end``: what follows a long constant phase.

    Args:
        steps: T ≥ 0, after which it stays at ``end``. 0 is there at once.
        end: the multiplier at step T. Default 0.
        shape: ``"linear"`` (default), ``"cosine"``, or ``"1-sqrt"`` (:math:`1 - \sqrt{t / T}` of the way is left, which
            `arXiv 2405.18392` found best).

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, an unknown shape, or an end that is not finite.

    >>> cooldown(100, shape="1-sqrt")(25)
    0.5
    """

    steps: float
    end: float = 0.0
    _: KW_ONLY
    shape: str = "linear"

    def _check(self) -> None:
        checks.steps("cooldown", steps=self.steps)
        checks.finite("cooldown", end=self.end)
        checks.one_of("cooldown", "shape", self.shape, COOLDOWNS)

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        return _down(self.shape, step, self.steps, self.end)


def _down(shape: str, step: float, steps: float, end: float) -> float:
    if shape == "1-sqrt":
        return end + (1.0 - end) * (1.0 - math.sqrt(step / steps)) if step < steps else end
    return (wave if shape == "cosine" else line)(step, steps, 1.0, end)


@dataclass(frozen=True, repr=False)
class wsd(Schedule):
    """Warm-up, stable, decay (`arXiv 2404.06395`): a linear warm-up, 1 for most of the time, and a cool-down.

    The same as ``warmup(warmup_steps, start) >> constant(steps=…) >> cooldown(decay_steps, end, shape=decay)``.

    Args:
        steps: the length of all three phases together.
        warmup_steps, decay_steps: the lengths of the first and of the last, ≥ 0.
        start, end: the multipliers at step 0 and at the end. Defaults 0.
        decay: the shape of the last phase: ``"linear"`` (default), ``"cosine"`` or ``"1-sqrt"``; see :class:`cooldown`.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, first and last phases that are longer than the whole, an unknown shape, or a
            value that is not finite.

    >>> wsd(10_000, warmup_steps=500, decay_steps=2_000)([250, 500, 8_000, 9_000, 10_000]).tolist()
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    steps: float
    warmup_steps: float
    decay_steps: float
    _: KW_ONLY
    start: float = 0.0
    end: float = 0.0
    decay: str = "linear"

    def _check(self) -> None:
        checks.steps("wsd", steps=self.steps, warmup_steps=self.warmup_steps, decay_steps=self.decay_steps)
        checks.finite("wsd", start=self.start, end=self.end)
        checks.one_of("wsd", "decay", self.decay, COOLDOWNS)
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"wsd: warmup_steps + decay_steps must not be more than steps, got {self.warmup_steps} + "
                f"{self.decay_steps} > {self.steps}"
            )

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        if step < self.warmup_steps:
            return line(step, self.warmup_steps, self.start, 1.0)
        since = step - (self.steps - self.decay_steps)
        return _down(self.decay, since, self.decay_steps, self.end) if since >= 0 else 1.0
