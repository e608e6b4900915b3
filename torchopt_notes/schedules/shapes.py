"""Schedules of a given length: constant, and ways from one value to another.

Their names are lower case because they are written like ``range``: ``S.cosine(100)`` makes an immutable object. In the
formulas t is the step and T stands for ``steps``.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from . import checks
from .schedule import ENDLESS, Schedule


@dataclass(frozen=True, repr=False)
class constant(Schedule):
    """The same ``value`` at every step.

    Args:
        value: the multiplier. Default 1.
        steps: its length, for something to follow. Default: no end.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, or a value that is not finite.

    >>> schedule = constant(0.1, steps=5) >> constant()
    >>> schedule(4), schedule(5)
    (0.1, 1.0)
    """

    value: float = 1.0
    steps: float = ENDLESS

    def _check(self) -> None:
        checks.finite("constant", value=self.value)
        if self.steps != ENDLESS:
            checks.steps("constant", steps=self.steps)

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        return self.value


@dataclass(frozen=True, repr=False)
class _FromTo(Schedule):
    steps: float
    start: float = 1.0
    end: float = 0.0

    def _check(self) -> None:
        checks.steps(type(self).__name__, steps=self.steps)
        checks.finite(type(self).__name__, start=self.start, end=self.end)

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        return self.between(step) if step < self.steps else self.end

    def between(self, step: float) -> float:
        """The value before the end."""
        raise NotImplementedError


def line(step: float, steps: float, start: float, end: float) -> float:
    """A straight line, which stays at ``end``."""
    return (start * (steps - step) + end * step) / steps if step < steps else end


def wave(step: float, steps: float, start: float, end: float) -> float:
    """Half a cosine wave, which stays at ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2 if step < steps else end


@dataclass(frozen=True, repr=False)
class linear(_FromTo):
    r"""A straight line.

    .. math::
        \text{start} + (\text{end} - \text{start}) \, t / T

    Args:
        steps: T ≥ 0, after which it stays at ``end``. 0 is there at once.
        start, end: the multipliers at step 0 and at step T. Defaults 1 and 0.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, or values that are not finite.

    >>> linear(4)([0, 1, 2, 3, 4]).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def between(self, step: float) -> float:
        return line(step, self.steps, self.start, self.end)


@dataclass(frozen=True, repr=False)
class cosine(_FromTo):
    r"""Half a cosine wave: cosine annealing without restarts (`arXiv 1608.03983`).

    .. math::
        \text{end} + (\text{start} - \text{end}) \, (1 + \cos(\pi t / T)) / 2

    Args:
        steps: T ≥ 0, after which it stays at ``end``. 0 is there at once.
        start, end: the multipliers at step 0 and at step T. Defaults 1 and 0.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, or values that are not finite.

    >>> cosine(100, end=0.1)(50)
    0.55
    """

    def between(self, step: float) -> float:
        return wave(step, self.steps, self.start, self.end)


@dataclass(frozen=True, repr=False)
class polynomial(_FromTo):
    r"""A power of the distance to the end.

    .. math::
        \text{end} + (\text{start} - \text{end}) \, (1 - t / T)^{\text{power}}

    Args:
        steps: T ≥ 0, after which it stays at ``end``. 0 is there at once.
        start, end: the multipliers at step 0 and at step T. Defaults 1 and 0.
        power: > 0. Default 1, a straight line, as in torch.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, a power that is not > 0, or values that are not finite.

    >>> polynomial(10, power=2)(5)
    0.25
    """

    _: KW_ONLY
    power: float = 1.0

    def _check(self) -> None:
        super()._check()
        checks.positive("polynomial", power=self.power)

    def between(self, step: float) -> float:
        return float(self.end + (self.start - self.end) * (1.0 - step / self.steps) ** self.power)


@dataclass(frozen=True, repr=False)
class rex(_FromTo):
    r"""Reflected exponential: stays high for long, then falls ever faster (`arXiv 2107.04197`).

    .. math::
        \text{end} + (\text{start} - \text{end}) \, \frac{1 - t / T}{1/2 + (1 - t / T) / 2}

    Args:
        steps: T ≥ 0, after which it stays at ``end``. 0 is there at once.
        start, end: the multipliers at step 0 and at step T. Defaults 1 and 0.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative length, or values that are not finite.

    >>> rex(10)(5) == 0.5 / 0.75
    True
    """

    def between(self, step: float) -> float:
        left = 1.0 - step / self.steps
        return self.end + (self.start - self.end) * left / (0.5 + 0.5 * left)
