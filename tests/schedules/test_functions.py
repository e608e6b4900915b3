"""Every function: its values, those for arrays, and what it is to be an immutable object."""

import copy
import dataclasses
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch

from torchopt_notes import schedules as S

from .cases import CASES, EVERY

STEPS = np.concatenate([np.arange(131), np.arange(0, 60, 0.25), [1000.0, 1999.5]])
ON_EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ON_EVERY_SCHEDULE = pytest.mark.parametrize("schedule", EVERY.values(), ids=repr)


def agree(values, expected):
    return bool(np.allclose(values, expected, rtol=1e-12, atol=1e-15))


@ON_EVERY_CASE
def test_values_are_those_of_the_formula(case):
    expected = case.formula(STEPS)
    values = np.array([case.schedule(float(step)) for step in STEPS])
    assert agree(values, expected)
    assert not agree(values * (1 + 1e-9), expected), "control: a relative error of 1e-9 is noticed"


@ON_EVERY_CASE
def test_the_horizon_is_where_it_says_and_the_last_value_stays(case):
    horizon = case.schedule.horizon
    assert horizon == case.horizon
    if horizon < math.inf:
        assert {case.schedule(horizon + more) for more in (0, 0.5, 1, 1e6, 10**400)} == {case.schedule(horizon)}
        assert case.schedule(horizon) == pytest.approx(float(case.formula(np.array([float(horizon)]))[0]), rel=1e-15)


def test_every_function_has_a_case():
    functions = {one for one in vars(S).values() if isinstance(one, type) and issubclass(one, S.Schedule)}
    assert functions - {S.Schedule} == {type(case.schedule) for case in CASES}


def test_the_last_values_are_exact_and_the_first_ones_to_a_rounding():
    functions = [S.linear, S.cosine, S.polynomial, S.rex]
    schedules = [(function(7, start, 0.1), start, 0.1) for function in functions for start in (1, 0.3)]
    schedules += [(S.warmup(7, 0.3, shape=shape), 0.3, 1) for shape in ("linear", "cosine", "exponential")]
    schedules += [(S.cooldown(7, 0.1, shape=shape), 1, 0.1) for shape in ("linear", "cosine", "1-sqrt")]
    for schedule, start, end in schedules:
        assert schedule(7) == end
        assert abs(schedule(0) - start) <= math.ulp(start)


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
def test_wsd_is_its_three_phases(decay):
    phases = S.warmup(6, 0.2) >> S.constant(steps=24) >> S.cooldown(11, 0.1, shape=decay)
    assert np.array_equal(S.wsd(41, 6, 11, start=0.2, end=0.1, decay=decay)(STEPS), phases(STEPS))
    assert not np.array_equal(S.wsd(41, 6, 12, start=0.2, end=0.1, decay=decay)(STEPS), phases(STEPS))


def test_after_a_warm_up_inverse_sqrt_is_the_transformers_schedule():
    dimension, steps = 512, 40
    paper = [dimension**-0.5 * min(n**-0.5, n * steps**-1.5) for n in range(1, 400)]
    ours = (S.warmup(steps) >> S.inverse_sqrt(steps))(range(1, 400)) * (dimension * steps) ** -0.5
    assert agree(ours, paper)


def test_warm_restarts_begin_exactly_where_the_runs_before_end():
    for first, factor in [(10, 2), (7, 3), (1, 2), (3, 10), (2.5, 2), (8, 1.5)]:
        schedule, begin, length = S.warm_restarts(first, factor), 0, first
        for _ in range(12):
            assert schedule(begin) == 1, (first, factor, begin)
            assert schedule(math.nextafter(begin + length, 0)) < 1e-9
            begin, length = begin + length, length * factor


@ON_EVERY_SCHEDULE
def test_arrays_hold_the_values_of_the_single_steps(schedule):
    steps = [0, 1, 2, 5, 19, 20, 40, 64]
    single = [schedule(step) for step in steps]
    assert all(type(value) is float for value in single)
    assert schedule(steps).tolist() == schedule(tuple(steps)).tolist() == single
    assert schedule(range(41)).tolist() == [schedule(step) for step in range(41)]
    for dtype in (np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64):
        given = np.array(steps, dtype).reshape(2, 1, 4)
        values = schedule(given)
        assert values.dtype == np.float64
        assert values.shape == given.shape
        assert values.ravel().tolist() == single
        assert [schedule(one) for one in given.ravel()] == single, "NumPy's numbers"
    for dtype in (torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        given = torch.tensor(steps, dtype=dtype).reshape(4, 2).t()
        values = schedule(given)
        assert values.dtype == torch.float64
        assert values.shape == given.shape
        assert values.t().flatten().tolist() == single


@ON_EVERY_SCHEDULE
def test_arrays_of_fractions_of_any_shape(schedule):
    steps = np.linspace(0, 50, 24)
    single = [schedule(float(step)) for step in steps]
    assert schedule(steps.reshape(2, 3, 4)[:, ::-1]).tolist() == np.reshape(single, (2, 3, 4))[:, ::-1].tolist()
    assert schedule(torch.from_numpy(steps).requires_grad_()).tolist() == single
    # float16 is another step, and it is the value of that one.
    rounded = steps.astype(np.float16)
    assert schedule(rounded).tolist() == [schedule(float(step)) for step in rounded]
    for empty in ([], np.empty((0, 3)), torch.empty(2, 0)):
        assert schedule(empty).shape == np.shape(empty)
    for scalar in (np.array(3), torch.tensor(3)):
        assert schedule(scalar).shape == ()
        assert schedule(scalar).item() == schedule(3)


@ON_EVERY_SCHEDULE
def test_nothing_about_a_schedule_can_be_changed(schedule):
    before = vars(schedule).copy()
    for field in dataclasses.fields(schedule):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(schedule, field.name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(schedule, field.name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.other = 1
    schedule(range(50))
    assert vars(schedule) == before


@ON_EVERY_SCHEDULE
def test_copies_and_what_it_prints_are_equal_to_it(schedule):
    copies = [copy.copy(schedule), copy.deepcopy(schedule), eval(repr(schedule), dict(vars(S)))]
    copies += [pickle.loads(pickle.dumps(schedule, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in copies:
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert repr(other) == repr(schedule)
        assert other(STEPS).tobytes() == schedule(STEPS).tobytes()


def test_equal_are_those_of_the_same_arguments():
    schedules = list(EVERY.values())
    assert len(set(schedules)) == len(schedules)
    assert all(one != other for one, other in pairwise(schedules))
    assert S.linear(10) == S.linear(10.0, start=1, end=0)
    assert S.linear(10) != S.cosine(10), "the same arguments of another function"
    assert S.linear(10) != S.polynomial(10)
    assert S.multistep([3, 1]) == S.multistep((1, 3))
    assert S.linear(10) != 10


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (S.linear(np.int64(10), end=np.float32(0.5)), S.linear(10, end=0.5)),
        (S.cosine(torch.tensor(10), end=torch.tensor(0.5)), S.cosine(10, end=0.5)),
        (S.multistep(np.array([3, 5])), S.multistep([3, 5])),
        (S.multistep(torch.tensor([3, 5]), np.float64(0.5)), S.multistep([3, 5], 0.5)),
        (np.float64(0.5) * S.linear(10), 0.5 * S.linear(10)),
        (S.linear(10) * np.float32(0.5) + np.int64(2), S.linear(10) * 0.5 + 2),
        (S.linear(10).repeat(np.int64(2)).stretch(np.float64(3)), S.linear(10).repeat(2).stretch(3.0)),
        (S.linear(10).clip(np.float64(0.5)).until(np.array(7)), S.linear(10).clip(0.5).until(7)),
    ],
    ids=lambda schedule: repr(schedule),
)
def test_numbers_of_numpy_and_torch_become_pythons(given, plain):
    assert given == plain
    assert hash(given) == hash(plain)
    assert repr(given) == repr(plain)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (S.linear(10), "linear(10)"),
        (S.linear(10, 1, 0.5), "linear(10, end=0.5)"),
        (S.linear(10, 0.1, 0.5), "linear(10, 0.1, 0.5)"),
        (S.warmup(5, shape="cosine") >> S.constant(), "warmup(5, shape='cosine') >> constant()"),
        (S.constant(steps=5), "constant(steps=5)"),
        (0.5 * (2 * S.linear(10)), "0.5 * (2 * linear(10))"),
        (0.5 + (2 + S.linear(10) * 3), "0.5 + (2 + linear(10) * 3)"),
        ((S.linear(3) + 1) * -2, "(linear(3) + 1) * -2"),
        ((S.linear(3) >> S.cosine(2)) + 1, "(linear(3) >> cosine(2)) + 1"),
        ((S.linear(3) * 2).clip(max=1), "(linear(3) * 2).clip(max=1)"),
        (S.linear(3).repeat().until(7).stretch(2), "linear(3).repeat().until(7).stretch(2)"),
    ],
)
def test_what_it_prints(schedule, text):
    assert repr(schedule) == text
    assert eval(text, dict(vars(S))) == schedule
