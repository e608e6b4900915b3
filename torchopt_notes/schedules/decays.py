"""Schedules that fall without an end."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from . import checks
from .schedule import ENDLESS, Schedule


@dataclass(frozen=True, repr=False)
class _Endless(Schedule):
    @property
    def horizon(self) -> float:
        return ENDLESS


@dataclass(frozen=True, repr=False)
class exponential(_Endless):
    r"""Exponential decay, :math:`\gamma^t`.

    Args:
        gamma: γ > 0, the factor per step. With ``.stretch(n)``, per n steps.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a factor that is not > 0.

    >>> exponential(0.5)(3)
    0.125
    """

    gamma: float

    def _check(self) -> None:
        checks.positive("exponential", gamma=self.gamma)

    def at(self, step: float) -> float:
        return float(self.gamma**step)


@dataclass(frozen=True, repr=False)
class step_decay(_Endless):
    r"""Step decay, :math:`\gamma^{\lfloor t / \text{step\_size} \rfloor}`: a factor every so many steps.

    Args:
        step_size: > 0, how many steps a value lasts.
        gamma: γ ≥ 0, the factor. Default 0.1, as in torch.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a ``step_size`` that is not > 0, or a negative factor.

    >>> schedule = step_decay(10, gamma=0.9)  # 10 % less every 10 epochs
    >>> schedule(9), schedule(10), round(schedule(20), 6)
    (1.0, 0.9, 0.81)
    """

    step_size: float
    gamma: float = 0.1

    def _check(self) -> None:
        checks.positive("step_decay", step_size=self.step_size)
        checks.non_negative("step_decay", gamma=self.gamma)

    def at(self, step: float) -> float:
        return float(self.gamma ** (step // self.step_size))


@dataclass(frozen=True, repr=False)
class multistep(_Endless):
    r"""A factor at each of a few steps: :math:`\gamma^{n}` after n milestones.

    Args:
        milestones: the steps, in any order. One that is named twice counts twice.
        gamma: γ ≥ 0, the factor. Default 0.1, as in torch.

    Raises:
        TypeError: for something that is no number.
        ValueError: for negative milestones, or a negative factor.

    >>> multistep([30, 80])([0, 30, 79, 80]).round(6).tolist()
    [1.0, 0.1, 0.1, 0.01]
    """

    milestones: tuple[float, ...]
    gamma: float = 0.1

    def _check(self) -> None:
        try:
            milestones: tuple[float, ...] = checks.plain(tuple(self.milestones))
        except TypeError:
            raise TypeError(f"multistep: milestones must be a list of steps, got {self.milestones!r}") from None
        for milestone in milestones:
            checks.steps("multistep", milestones=milestone)
        checks.non_negative("multistep", gamma=self.gamma)
        object.__setattr__(self, "milestones", tuple(sorted(milestones)))

    def at(self, step: float) -> float:
        return float(self.gamma ** bisect_right(self.milestones, step))


@dataclass(frozen=True, repr=False)
class inverse_time(_Endless):
    r"""Inverse time decay, :math:`1 / (1 + \text{rate} \cdot t)`, as Robbins and Monro's conditions allow.

    Args:
        rate: ≥ 0, per step. After 1/rate steps half is left.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a negative rate.

    >>> inverse_time(0.01)(100)
    0.5
    """

    rate: float

    def _check(self) -> None:
        checks.non_negative("inverse_time", rate=self.rate)

    def at(self, step: float) -> float:
        return 1.0 / (1.0 + self.rate * step)


@dataclass(frozen=True, repr=False)
class inverse_sqrt(_Endless):
    r"""Inverse square root, :math:`(1 + t / \text{timescale})^{-1/2}`.

    After a warm-up of as many steps as ``timescale`` it is what *Attention Is All You Need* (`arXiv 1706.03762`) trains
    with: the rate falls with the root of the number of all steps.

    Args:
        timescale: > 0, steps. After three times as many, half is left.

    Raises:
        TypeError: for something that is no number.
        ValueError: for a ``timescale`` that is not > 0.

    >>> from torchopt_notes import schedules as S
    >>> schedule = S.warmup(100) >> S.inverse_sqrt(100)
    >>> schedule(400) == (100 / 400) ** 0.5
    True
    """

    timescale: float

    def _check(self) -> None:
        checks.positive("inverse_sqrt", timescale=self.timescale)

    def at(self, step: float) -> float:
        return float((1.0 + step / self.timescale) ** -0.5)
