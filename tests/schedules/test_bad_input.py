"""What cannot be meant is refused, with what was given and what is allowed; nothing has changed then."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from torchopt_notes import schedules as S

NAN, INF = math.nan, math.inf
LINE = S.linear(10)

NOT_NUMBERS = ["10", None, True, 1j, [10], (1, 2), {}, np.array([10]), torch.tensor([10]), np.True_, object]
NOT_FINITE = [NAN, INF, -INF, np.float32("nan"), torch.tensor(INF)]


def says(*words):
    return ".*".join(map(re.escape, words))


STEPS = {
    "constant: steps": lambda n: S.constant(steps=n),
    "linear: steps": S.linear,
    "cosine: steps": S.cosine,
    "polynomial: steps": S.polynomial,
    "rex: steps": S.rex,
    "warmup: steps": S.warmup,
    "cooldown: steps": S.cooldown,
    "wsd: steps": lambda n: S.wsd(n, 0, 0),
    "wsd: warmup_steps": lambda n: S.wsd(10, n, 0),
    "wsd: decay_steps": lambda n: S.wsd(10, 0, n),
    "one_cycle: total_steps": S.one_cycle,
    "multistep: milestones": lambda n: S.multistep([3, n]),
    "until: steps": LINE.until,
}
POSITIVE = {
    "polynomial: power": lambda n: S.polynomial(10, power=n),
    "exponential: gamma": S.exponential,
    "step_decay: step_size": S.step_decay,
    "inverse_sqrt: timescale": S.inverse_sqrt,
    "warm_restarts: T_0": S.warm_restarts,
    "cyclic: step_size_up": S.cyclic,
    "cyclic: step_size_down": lambda n: S.cyclic(10, n),
    "cyclic: gamma": lambda n: S.cyclic(gamma=n),
    "stretch: factor": LINE.stretch,
}
NOT_NEGATIVE = {
    "step_decay: gamma": lambda n: S.step_decay(10, n),
    "multistep: gamma": lambda n: S.multistep([10], n),
    "inverse_time: rate": S.inverse_time,
}
ANY = {
    "constant: value": S.constant,
    "linear: start": lambda n: S.linear(10, n),
    "cosine: end": lambda n: S.cosine(10, end=n),
    "polynomial: start": lambda n: S.polynomial(10, n),
    "rex: end": lambda n: S.rex(10, end=n),
    "warmup: start": lambda n: S.warmup(10, n),
    "cooldown: end": lambda n: S.cooldown(10, n),
    "wsd: start": lambda n: S.wsd(10, 1, 1, start=n),
    "wsd: end": lambda n: S.wsd(10, 1, 1, end=n),
    "warm_restarts: end": lambda n: S.warm_restarts(10, end=n),
    "warm_restarts: T_mult": lambda n: S.warm_restarts(10, n),
    "cyclic: start": lambda n: S.cyclic(start=n),
    "cyclic: peak": lambda n: S.cyclic(peak=n),
    "one_cycle: start": lambda n: S.one_cycle(10, start=n),
    "one_cycle: peak": lambda n: S.one_cycle(10, peak=n),
    "one_cycle: end": lambda n: S.one_cycle(10, end=n),
    "one_cycle: pct_start": lambda n: S.one_cycle(10, n),
    "clip: min": LINE.clip,
    "clip: max": lambda n: LINE.clip(max=n),
    "repeat: times": LINE.repeat,
}
NUMBERS = {**STEPS, **POSITIVE, **NOT_NEGATIVE, **ANY}
OPTIONAL = {"warmup: start", "cyclic: step_size_down", "clip: min", "clip: max"}
ENDLESS_ALLOWED = {"constant: steps", "repeat: times"}


@pytest.mark.parametrize("name", NUMBERS)
def test_arguments_that_are_no_numbers(name):
    for value in NOT_NUMBERS:
        if value is None and name in OPTIONAL:
            assert isinstance(NUMBERS[name](value), S.Schedule)
            continue
        shown = repr(value.item() if isinstance(value, np.bool_) else value)
        with pytest.raises(TypeError, match=says(name, "must be a number, got", shown)):
            NUMBERS[name](value)


@pytest.mark.parametrize("name", NUMBERS)
def test_arguments_that_are_not_finite(name):
    for value in NOT_FINITE:
        plain = float(value)
        if plain == INF and name in ENDLESS_ALLOWED:
            assert NUMBERS[name](value).horizon == INF
            continue
        with pytest.raises(ValueError, match=says(name, "must be a", "number", f"got {plain!r}")):
            NUMBERS[name](value)


@pytest.mark.parametrize("name", STEPS)
def test_negative_lengths(name):
    least = 1 if name.startswith("one_cycle") else 0
    for value in (-1, -0.5, np.int64(-3)):
        with pytest.raises(ValueError, match=says(name, f"must be a number of steps >= {least}, got {value}")):
            STEPS[name](value)
    assert isinstance(STEPS[name](least), S.Schedule)
    assert isinstance(STEPS[name](Fraction(5, 2)), S.Schedule)


@pytest.mark.parametrize("name", POSITIVE)
def test_what_must_be_greater_than_zero(name):
    for value in (0, -1.5):
        with pytest.raises(ValueError, match=says(name, f"must be > 0, got {value}")):
            POSITIVE[name](value)
    assert isinstance(POSITIVE[name](0.5), S.Schedule)


@pytest.mark.parametrize("name", NOT_NEGATIVE)
def test_what_must_not_be_negative(name):
    with pytest.raises(ValueError, match=says(name, "must be >= 0, got -0.1")):
        NOT_NEGATIVE[name](-0.1)
    assert isinstance(NOT_NEGATIVE[name](0), S.Schedule)


@pytest.mark.parametrize(
    ("make_one", "words"),
    [
        (
            lambda: S.wsd(100, 60, 50),
            ["wsd: warmup_steps + decay_steps must not be more than steps, got 60 + 50 > 100"],
        ),
        (lambda: S.wsd(100, 101, 0), ["got 101 + 0 > 100"]),
        (lambda: S.warmup(9, 0, shape="exponential"), ["start must be > 0 for the exponential shape, got 0"]),
        (lambda: S.warmup(9, -1, shape="exponential"), ["start must be > 0 for the exponential shape, got -1"]),
        (lambda: S.warm_restarts(9, 0.5), ["warm_restarts: T_mult must be >= 1, got 0.5"]),
        (lambda: S.one_cycle(9, 1.5), ["one_cycle: pct_start must be between 0 and 1.0, got 1.5"]),
        (lambda: S.one_cycle(9, -0.1), ["pct_start must be between 0 and 1.0, got -0.1"]),
        (lambda: S.one_cycle(9, 0.6, three_phase=True), ["pct_start must be between 0 and 0.5, got 0.6"]),
        (lambda: LINE.clip(2, 1), ["clip: min must not be greater than max, got min=2 and max=1"]),
        (lambda: LINE.repeat(0), ["repeat: times must be a whole number >= 1, or inf, got 0"]),
        (lambda: LINE.repeat(1.5), ["repeat: times must be a whole number >= 1, or inf, got 1.5"]),
        (lambda: S.constant().repeat(2), ["repeat: constant() lasts inf steps", ".until(steps)"]),
        (lambda: S.warmup(0).repeat(2), ["repeat: warmup(0) lasts 0 steps", ".until(steps)"]),
        (lambda: LINE * NAN, ["product: a part must be a finite number, got nan"]),
        (lambda: INF + LINE, ["sum: a part must be a finite number, got inf"]),
        (lambda: S.constant(0.5) >> LINE, ["constant(0.5) never ends", "constant(0.5).until(steps)"]),
        (lambda: LINE >> S.exponential(0.9) >> LINE, ["exponential(0.9) never ends"]),
        (lambda: LINE.repeat() >> LINE, ["linear(10).repeat() never ends", "linear(10).repeat().until(steps)"]),
        (
            lambda: (LINE * S.constant()) >> LINE,
            ["linear(10) * constant() never ends", "(linear(10) * constant()).until"],
        ),
        (lambda: S.warmup(9, shape="quadratic"), ["warmup: shape must be one of", "linear", "cosine", "exponential"]),
        (
            lambda: S.cooldown(9, shape="exponential"),
            ["shape must be one of 'linear', 'cosine', '1-sqrt', got 'exponential'"],
        ),
        (lambda: S.wsd(9, 1, 1, decay="sqrt"), ["wsd: decay must be one of", "'1-sqrt', got 'sqrt'"]),
        (lambda: S.cyclic(mode="square"), ["cyclic: mode must be one of", "'exp_range', got 'square'"]),
        (lambda: S.one_cycle(9, anneal_strategy=None), ["anneal_strategy must be one of 'cos', 'linear', got None"]),
    ],
)
def test_arguments_that_contradict_each_other_or_are_unknown(make_one, words):
    with pytest.raises(ValueError, match=says(*words)):
        make_one()


def test_milestones_that_are_no_list():
    with pytest.raises(TypeError, match=r"multistep: milestones must be a list of steps, got 5"):
        S.multistep(5)
    with pytest.raises(TypeError, match="multistep: milestones must be a number, got '3'"):
        S.multistep("30")


@pytest.mark.parametrize(
    "step", ["5", b"5", None, True, 1j, {3}, {}, np.True_, torch.tensor(True), ["5"], [None], [True]]
)
@pytest.mark.parametrize("schedule", [LINE, LINE * 2, LINE >> S.constant(), lambda step: LINE.repeat()(step)])
def test_steps_that_are_no_numbers(schedule, step):
    with pytest.raises(TypeError, match="schedule: step must be a number, got"):
        schedule(step)


@pytest.mark.parametrize(
    "step", [-1, -1e-9, NAN, INF, -INF, np.int64(-1), [3, -1], np.array([0, NAN]), torch.tensor([-1])]
)
def test_steps_that_are_negative_or_not_finite(step):
    for schedule in (LINE, S.exponential(0.5), LINE.repeat()):
        with pytest.raises(ValueError, match="must be a finite number"):
            schedule(step)


@pytest.mark.parametrize(
    "combine",
    [
        lambda: LINE >> 3,
        lambda: 3 >> LINE,
        lambda: LINE >> (lambda step: 1),
        lambda: LINE * "2",
        lambda: LINE * True,
        lambda: False + LINE,
        lambda: LINE + None,
        lambda: LINE * torch.tensor(2.0),
        lambda: LINE * np.array([1.0, 2.0]),
        lambda: np.array([1.0, 2.0]) * LINE,
        lambda: np.array([1.0, 2.0]) + LINE,
        lambda: LINE + {1},
    ],
)
def test_only_schedules_and_numbers_are_combined(combine):
    with pytest.raises(TypeError, match=r"unsupported operand|can't multiply|not support ufuncs|Concatenation"):
        combine()


def test_what_grows_too_large_says_so():
    with pytest.raises(OverflowError, match=r"exponential\(2.0\) is too large for a float at step 2000"):
        S.exponential(2.0)(2000)
    assert S.exponential(2.0)(10) == 1024
