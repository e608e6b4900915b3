"""Turns, sets, rounds and ratios, on a clock that goes as the tests want."""

import itertools
import math
import statistics
from types import SimpleNamespace

import pytest

from benchmarks.measuring import clock
from benchmarks.measuring.clock import FEWEST, WARM_UP, Samples, Step, ratio, take_turns


class FakeTime:
    """Time that passes only in steps."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def step(self, name, seconds=1.0):
        def run():
            self.log.append(name)
            self.now += seconds

        return run


@pytest.fixture
def fake(monkeypatch):
    made = FakeTime()
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


def test_the_order_turns_around_from_round_to_round(fake):
    take_turns({name: [Step(fake.step(name))] for name in "abc"}, 6, "cpu")
    assert "".join(fake.log) == "abc" * WARM_UP + "abccba" * 3


def test_sets_take_turns(fake):
    take_turns({name: [Step(fake.step(f"{name}{i}")) for i in range(3)] for name in "ab"}, 4, "cpu")
    warm_up = ["a0", "a1", "a2", "b0", "b1", "b2"] * WARM_UP
    assert fake.log == [*warm_up, "a0", "b0", "b1", "a1", "a2", "b2", "b0", "a0"]


def test_each_sample_is_its_own_contestants_time(fake):
    seconds = itertools.count(10.0)  # of the 2 warm-ups, then of each round

    def slower_and_slower():
        fake.now += next(seconds)

    steps = {"slow": [Step(slower_and_slower)], "fast": [Step(fake.step("fast", 2.0))]}
    samples = take_turns(steps, 3, "cpu")
    assert samples == {
        "slow": Samples([12.0, 13.0, 14.0], [12.0, 13.0, 14.0]),
        "fast": Samples([2.0, 2.0, 2.0], [2.0, 2.0, 2.0]),
    }
    assert samples["slow"].median == 13.0


def test_what_comes_before_a_step_runs_each_time_and_is_not_timed(fake):
    step = Step(fake.step("run", 1.0), fake.step("before", 100.0))
    samples = take_turns({"a": [step]}, 6, "cpu")["a"]
    assert fake.log == ["before", "run"] * (WARM_UP + 6)
    assert samples.device == samples.host == [1.0] * 6
    # Within the step it would count.
    within = Step(lambda: (step.before(), step.run()))
    assert take_turns({"a": [within]}, 6, "cpu")["a"].device == [101.0] * 6


@pytest.mark.parametrize(
    ("rounds", "budget", "taken"),
    [
        (31, math.inf, 31),
        (31, 1_000.0, 31),
        (31, 20.0, 10),  # a round of both takes two seconds
        (31, 1.0, FEWEST),
        (3, 1.0, 3),
    ],
)
def test_a_budget_means_fewer_rounds_but_never_too_few(rounds, budget, taken, fake):
    samples = take_turns({name: [Step(fake.step(name)) for _ in range(2)] for name in "ab"}, rounds, "cpu", budget)
    assert [len(found.device) for found in samples.values()] == [taken, taken]


def test_the_ratio_is_the_median_of_the_rounds_own():
    samples = {"ours": Samples([1.0, 2.0, 9.0]), "theirs": Samples([2.0, 6.0, 9.0])}
    assert ratio(samples, "ours", "theirs") == 2.0
    assert statistics.median([2.0, 6.0, 9.0]) / statistics.median([1.0, 2.0, 9.0]) == 3.0
    assert ratio(samples, "theirs", "ours") == 0.5


def test_a_ratio_of_samples_that_are_no_pairs_is_an_error():
    with pytest.raises(ValueError, match=r"longer|shorter"):
        ratio({"ours": Samples([1.0, 2.0]), "theirs": Samples([1.0])}, "ours", "theirs")
