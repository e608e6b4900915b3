"""Schedules that go up and down: restarts, cycles, one cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from . import checks
from .schedule import ENDLESS, Schedule

MODES = ("triangular", "triangular2", "exp_range")
ANNEALS = ("cos", "linear")


class Place(NamedTuple):
    """Where in a row of cycles a step is.

    Attributes:
        cycle: how many cycles are complete.
        step: the step within the one that runs.
        length: how long that one is.
    """

    cycle: int
    step: float
    length: float


@dataclass(frozen=True, repr=False)
class warm_restarts(Schedule):
    r"""Cosine annealing that begins again, each time ``T_mult`` times as long: SGDR (`arXiv 1608.03983`).

    .. math::
        \text{end} + (1 - \text{end}) \, (1 + \cos(\pi \, T_{cur} / T_i)) / 2

    with :math:`T_i = T_0 \cdot T_{mult}^i` the length of the i-th run, and :math:`T_{cur}` the steps since its start.
    Peaks that fall: ``S.warm_restarts(100) * S.step_decay(100, gamma=0.5)``.

    Args:
        T_0: > 0, the length of the first run in steps.
        T_mult: ≥ 1. Default 1, all equally long.
        end: the multiplier that a run ends with. Default 0.

    Raises:
        TypeError: for something that is no number.
        ValueError: for ``T_0`` that is not > 0, ``T_mult`` < 1, or an end that is not finite.

    >>> schedule = warm_restarts(10, T_mult=2)
    >>> schedule(0), schedule(5), schedule(10), schedule(20), schedule(30)
    (1.0, 0.5, 1.0, 0.5, 1.0)
    """

    T_0: float
    T_mult: float = 1
    _: KW_ONLY
    end: float = 0.0

    def _check(self) -> None:
        checks.positive("warm_restarts", T_0=self.T_0)
        checks.finite("warm_restarts", end=self.end)
        if checks.number("warm_restarts", "T_mult", self.T_mult) < 1:
            raise ValueError(f"warm_restarts: T_mult must be >= 1, got {self.T_mult!r}")

    @property
    def horizon(self) -> float:
        return ENDLESS

    def place(self, step: float) -> Place:
        """Where a step is: which run, how far in it, and how long the run is."""
        if self.T_mult == 1:
            return Place(int(step // self.T_0), step % self.T_0, self.T_0)
        cycle = math.floor(math.log(step / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        # The logarithm is rounded, so that the first step of a run may be counted to the one before or after.
        while cycle and self._begin(cycle) > step:
            cycle -= 1
        while self._begin(cycle + 1) <= step:
            cycle += 1
        return Place(cycle, step - self._begin(cycle), self.T_0 * self.T_mult**cycle)

    def _begin(self, cycle: int) -> float:
        begin = self.T_0 * (self.T_mult**cycle - 1)
        whole = isinstance(begin, int) and isinstance(self.T_mult, int)
        return begin // (self.T_mult - 1) if whole else begin / (self.T_mult - 1)

    def at(self, step: float) -> float:
        _, since, length = self.place(step)
        return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * since / length)) / 2


@dataclass(frozen=True, repr=False)
class cyclic(Schedule):
    r"""Up from ``start`` to ``peak`` and down again, without an end (`arXiv 1506.01186`).

    .. math::
        \text{start} + (\text{peak} - \text{start}) \cdot \text{height}(t) \cdot \text{scale}

    where height is 0, 1, 0 at the beginning, the top and the end of a cycle, with straight lines between.

    Args:
        step_size_up: > 0, the steps from ``start`` to ``peak``. Default 2000, as in torch.
        step_size_down: > 0, those from there back. Default: the same.
        start, peak: the multipliers at the bottom and at the top. Defaults 0.1 and 1.
        mode: the scale: ``"triangular"`` (default) 1, ``"triangular2"`` half as much in each cycle, ``"exp_range"``
            :math:`\gamma^t`.
        gamma: γ > 0 for ``"exp_range"``. Default 1.

    Raises:
        TypeError: for something that is no number.
        ValueError: for sizes or a ``gamma`` that are not > 0, an unknown mode, or values that are not finite.

    >>> schedule = cyclic(10, start=0.5, mode="triangular2")
    >>> schedule([0, 5, 10, 20, 30]).tolist()
    [0.5, 0.75, 1.0, 0.5, 0.75]
    """

    step_size_up: float = 2000
    step_size_down: float | None = None
    _: KW_ONLY
    start: float = 0.1
    peak: float = 1.0
    mode: str = "triangular"
    gamma: float = 1.0

    def _check(self) -> None:
        checks.positive("cyclic", step_size_up=self.step_size_up, gamma=self.gamma)
        if self.step_size_down is not None:
            checks.positive("cyclic", step_size_down=self.step_size_down)
        checks.finite("cyclic", start=self.start, peak=self.peak)
        checks.one_of("cyclic", "mode", self.mode, MODES)

    @property
    def horizon(self) -> float:
        return ENDLESS

    @property
    def length(self) -> float:
        """The steps of one cycle."""
        return self.step_size_up + (self.step_size_up if self.step_size_down is None else self.step_size_down)

    def height(self, step: float) -> float:
        """How far from bottom to top a step is, from 0 to 1, before any scale."""
        rising = self.step_size_up / self.length
        done = 1.0 + step / self.length - math.floor(1 + step / self.length)
        return done / rising if done <= rising else (done - 1) / (rising - 1)

    def at(self, step: float) -> float:
        scale = 1.0
        if self.mode == "triangular2":
            scale = 0.5 ** math.floor(step / self.length)
        elif self.mode == "exp_range":
            scale = self.gamma**step
        return self.start + (self.peak - self.start) * self.height(step) * scale


@dataclass(frozen=True, repr=False)
class one_cycle(Schedule):
    r"""One cycle: up to ``peak``, down to ``end`` (`arXiv 1708.07120`).

    With the optimizer's lr as the peak, the defaults are torch's: ``div_factor=25``, ``final_div_factor=1e4``. Momentum
    goes the other way: ``S.one_cycle(total, start=1, peak=0.85 / 0.95, end=1)`` for a base of 0.95.

    Args:
        total_steps: ≥ 1, the number of steps, of which the last, ``total_steps - 1``, is at ``end``.
        pct_start: the share of steps that go up, in [0, 1]. Default 0.3.
        start, peak, end: multipliers at step 0, at the top, and at the last step. Defaults 1/25, 1 and 1/25e4.
        anneal_strategy: ``"cos"`` (default) or ``"linear"``.
        three_phase: down to ``start`` as fast as up, and only then to ``end``. Default False.

    Raises:
        TypeError: for something that is no number.
        ValueError: for less than one step, a share outside of [0, 1] (of [0, 0.5] in three phases), an unknown
            strategy, or values that are not finite.

    >>> schedule = one_cycle(101, pct_start=0.5)
    >>> round(schedule(0), 6), round(schedule(49.5), 6), round(schedule(100), 8)
    (0.04, 1.0, 4e-06)
    """

    total_steps: float
    pct_start: float = 0.3
    _: KW_ONLY
    start: float = 1 / 25
    peak: float = 1.0
    end: float = 1 / 25e4
    anneal_strategy: str = "cos"
    three_phase: bool = False

    def _check(self) -> None:
        checks.steps("one_cycle", least=1, total_steps=self.total_steps)
        checks.finite("one_cycle", start=self.start, peak=self.peak, end=self.end)
        checks.one_of("one_cycle", "anneal_strategy", self.anneal_strategy, ANNEALS)
        most = 0.5 if self.three_phase else 1.0
        if not 0 <= checks.number("one_cycle", "pct_start", self.pct_start) <= most:
            raise ValueError(f"one_cycle: pct_start must be between 0 and {most}, got {self.pct_start!r}")

    @property
    def horizon(self) -> float:
        return self.total_steps - 1

    def at(self, step: float) -> float:
        top = float(self.pct_start * self.total_steps) - 1
        turns = [(top, self.peak), (self.total_steps - 1, self.end)]
        if self.three_phase:
            turns.insert(1, (2 * top, self.start))
        return along(self.start, turns, step, self.anneal_strategy)


def along(value: float, turns: Sequence[tuple[float, float]], step: float, anneal_strategy: str) -> float:
    """The value at ``step`` on a way that starts with ``value`` and comes by ``turns``: pairs of a step and a value."""
    begin = 0.0
    for end, after in turns[:-1]:
        if step <= end:
            break
        begin, value = end, after
    else:
        end, after = turns[-1]
    if end == begin:
        return after
    done = (step - begin) / (end - begin)
    if anneal_strategy == "linear":
        return (after - value) * done + value
    return after + (value - after) / 2.0 * (math.cos(math.pi * done) + 1)
