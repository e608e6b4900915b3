"""Schedules of every kind, each with what its paper or torch's documentation says of it, written out in NumPy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from torchopt_notes import schedules as S

INF = math.inf


@dataclass(frozen=True)
class Case:
    """A schedule, its values at an array of steps, and its length."""

    schedule: S.Schedule
    formula: Callable[[np.ndarray], np.ndarray]
    horizon: float

    @property
    def name(self):
        return repr(self.schedule)


def towards(steps, start, end, left):
    """From ``start`` to ``end``, where ``left`` says which share of the way is left after a share of the time."""
    return lambda t: end + (start - end) * left(np.minimum(t, steps) / steps)


def straight(x):
    return 1 - x


def wave(x):
    return (1 + np.cos(np.pi * x)) / 2


def root(x):
    return 1 - np.sqrt(x)


def reflected(x):
    return (1 - x) / (1 / 2 + (1 - x) / 2)


def phased(*phases):
    """Functions of their own time, one after the other: pairs of a length and a function."""

    def value(t):
        if not phases[1:]:
            return phases[0][1](t)
        length, first = phases[0]
        return np.where(t < length, first(np.minimum(t, length)), phased(*phases[1:])(np.maximum(t - length, 0)))

    return value


def one(t):
    return np.ones_like(t)


def sgdr(first, factor, end):
    """Loshchilov and Hutter's equation 5, run after run."""

    def value(t):
        length, since = first, t
        while since >= length:
            since, length = since - length, length * factor
        return end + 0.5 * (1 - end) * (1 + math.cos(math.pi * since / length))

    return np.vectorize(value, otypes=[float])


def triangles(up, down, start, peak, scale):
    """Straight lines between bottom, top and bottom; ``scale`` of the number of complete cycles and of the step."""

    def value(t):
        cycle, since = np.floor_divide(t, up + down), np.mod(t, up + down)
        return start + (peak - start) * np.interp(since, [0, up, up + down], [0, 1, 0]) * scale(cycle, t)

    return value


def smith(stepsize, start, peak):
    """The formula of the paper on cyclical learning rates, for equal halves."""

    def value(t):
        cycle = np.floor(1 + t / (2 * stepsize))
        x = np.abs(t / stepsize - 2 * cycle + 1)
        return start + (peak - start) * np.maximum(0, 1 - x)

    return value


def through(points, shape):
    """By all of ``points``, pairs of a step and a value, with ``shape`` between them."""

    def value(t):
        t = np.minimum(t, points[-1][0])
        result = np.full_like(t, points[0][1])
        for (begin, before), (end, after) in pairwise(points):
            inside = (t >= begin) & (t <= end)
            result[inside] = after + (before - after) * shape((t[inside] - begin) / (end - begin))
        return result

    return value


CASES = [
    Case(S.constant(), one, INF),
    Case(S.constant(0.3, steps=7), lambda t: 0.3 * one(t), 7),
    Case(S.linear(40), towards(40, 1, 0, straight), 40),
    Case(S.linear(37, start=0.2, end=1.5), towards(37, 0.2, 1.5, straight), 37),
    Case(S.linear(0, end=0.5), lambda t: 0.5 * one(t), 0),
    Case(S.cosine(40), towards(40, 1, 0, wave), 40),
    Case(S.cosine(37, start=0.3, end=0.1), towards(37, 0.3, 0.1, wave), 37),
    Case(S.polynomial(40), towards(40, 1, 0, straight), 40),
    Case(S.polynomial(33, 1.2, 0.2, power=2), towards(33, 1.2, 0.2, lambda x: (1 - x) ** 2), 33),
    Case(S.polynomial(33, power=0.5), towards(33, 1, 0, lambda x: np.sqrt(1 - x)), 33),
    Case(S.rex(40), towards(40, 1, 0, reflected), 40),
    Case(S.rex(31, start=0.9, end=0.1), towards(31, 0.9, 0.1, reflected), 31),
    Case(S.exponential(0.97), lambda t: np.exp(t * np.log(0.97)), INF),
    Case(S.step_decay(7), lambda t: 0.1 ** np.floor(t / 7), INF),
    Case(S.step_decay(2.5, gamma=0.9), lambda t: 0.9 ** np.floor(t / 2.5), INF),
    Case(
        S.multistep([30, 5, 12, 12], gamma=0.5),
        lambda t: 0.5 ** sum((t >= step).astype(float) for step in (5, 12, 12, 30)),
        INF,
    ),
    Case(S.multistep([]), one, INF),
    Case(S.inverse_time(0.1), lambda t: 1 / (1 + t / 10), INF),
    Case(S.inverse_sqrt(9), lambda t: np.sqrt(9 / (9 + t)), INF),
    Case(S.warmup(20), towards(20, 0, 1, straight), 20),
    Case(S.warmup(13, 0.1), towards(13, 0.1, 1, straight), 13),
    Case(S.warmup(20, shape="cosine"), towards(20, 0, 1, wave), 20),
    Case(S.warmup(13, 0.2, shape="cosine"), towards(13, 0.2, 1, wave), 13),
    Case(S.warmup(20, shape="exponential"), lambda t: 10 ** (3 * np.minimum(t, 20) / 20 - 3), 20),
    Case(S.warmup(13, 0.5, shape="exponential"), lambda t: np.exp2(np.minimum(t, 13) / 13 - 1), 13),
    Case(S.warmup(0), one, 0),
    Case(S.cooldown(20), towards(20, 1, 0, straight), 20),
    Case(S.cooldown(20, 0.1, shape="cosine"), towards(20, 1, 0.1, wave), 20),
    Case(S.cooldown(20, 0.1, shape="1-sqrt"), towards(20, 1, 0.1, root), 20),
    Case(
        S.wsd(40, 5, 10),
        phased((5, towards(5, 0, 1, straight)), (25, one), (10, towards(10, 1, 0, straight))),
        40,
    ),
    Case(
        S.wsd(41, 6, 11, start=0.2, end=0.1, decay="cosine"),
        phased((6, towards(6, 0.2, 1, straight)), (24, one), (11, towards(11, 1, 0.1, wave))),
        41,
    ),
    Case(
        S.wsd(16, 6, 10, decay="1-sqrt"),
        phased((6, towards(6, 0, 1, straight)), (10, towards(10, 1, 0, root))),
        16,
    ),
    Case(
        S.wsd(16, 6, 0, end=0.5),
        phased((6, towards(6, 0, 1, straight)), (10, one), (0, lambda t: 0.5 * one(t))),
        16,
    ),
    Case(S.warm_restarts(10), sgdr(10, 1, 0), INF),
    Case(S.warm_restarts(7, 2, end=0.1), sgdr(7, 2, 0.1), INF),
    Case(S.warm_restarts(4, 3), sgdr(4, 3, 0), INF),
    Case(S.warm_restarts(6, T_mult=1.5), sgdr(6, 1.5, 0), INF),
    Case(S.cyclic(10), smith(10, 0.1, 1), INF),
    Case(S.cyclic(9, 4, start=0.3, peak=0.8), triangles(9, 4, 0.3, 0.8, lambda cycle, t: 1), INF),
    Case(S.cyclic(8, mode="triangular2"), triangles(8, 8, 0.1, 1, lambda cycle, t: 1 / 2**cycle), INF),
    Case(S.cyclic(5, 7, mode="exp_range", gamma=0.99), triangles(5, 7, 0.1, 1, lambda cycle, t: 0.99**t), INF),
    Case(S.one_cycle(41, 0.5), through([(0, 1 / 25), (19.5, 1), (40, 1 / 250_000)], wave), 40),
    Case(
        S.one_cycle(50, start=0.2, peak=0.9, end=0.01, anneal_strategy="linear"),
        through([(0, 0.2), (14, 0.9), (49, 0.01)], straight),
        49,
    ),
    Case(
        S.one_cycle(50, 0.3, three_phase=True),
        through([(0, 1 / 25), (14, 1), (28, 1 / 25), (49, 1 / 250_000)], wave),
        49,
    ),
]

COMPOSED = [
    S.warmup(10) >> S.cosine(40, end=0.1),
    S.warmup(8, shape="exponential") >> S.constant(steps=20) >> S.cooldown(16, shape="1-sqrt"),
    S.warm_restarts(10, 2) * S.step_decay(15, gamma=0.5),
    0.5 * (S.linear(20) + 0.25 * S.cyclic(6)).clip(0.05, 0.4),
    S.cosine(10).repeat(3) >> S.constant(0.1),
    S.multistep([3, 7]).stretch(5).until(50) >> S.rex(7, start=0.01),
    (S.linear(12, start=0.5) >> S.linear(5, 0.1, 0.2)).repeat(),
]

EVERY = {case.name: case.schedule for case in CASES} | {repr(schedule): schedule for schedule in COMPOSED}
"""All of them by what they print."""
