"""One case: who is timed, who is not and why, and that everybody has the same work in every round."""

import dataclasses
import functools
import unittest.mock

import pytest
import torch

import torchopt_notes
from benchmarks import study
from benchmarks.cases import Case, find_cases, shrunk
from benchmarks.contestants import OURS, find_contestants
from benchmarks.gate import Verdict
from benchmarks.measuring.clock import WARM_UP
from benchmarks.study import MOST_COMPILED_SETS, MOST_SETS, Row, Skipped, Study
from tests.benchmarks.wrong import Greedy, contestant

ROUNDS = 4
FUSED = find_contestants(["torch fused"])[1]


@pytest.fixture(autouse=True)
def _one_set(monkeypatch):
    monkeypatch.setattr(study, "last_level_cache", lambda device: 0)


@pytest.fixture(autouse=True)
def examined(monkeypatch):
    """Everybody is right, but for those whose name says otherwise. Returns whom the gate was asked about."""
    asked = []

    def examine(one, optimizer, hyper, device, dtype):
        asked.append((one.name, optimizer))
        one.maker(optimizer, hyper, device)
        return Verdict(False, "scenario longer: step 3") if one.name == "sloppy" else Verdict(True)

    monkeypatch.setattr(study, "examine", examine)
    return asked


def run(*others, verdicts=None, case="tiny-2000", optimizer="adamw", operation="step", tensors=3):
    (case,) = find_cases([case])
    shapes = shrunk(case.shapes(10**6), tensors)
    made = Study(case, shapes, optimizer, operation, (OURS, *others), "cpu", torch.float32, ROUNDS)
    return list(made.run({} if verdicts is None else verdicts))


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_what_was_timed_is_compared_too(factor):
    """The gate sees small tensors only, and no clipping."""

    def hurried(contestant, optimizer, hyper, device):
        return functools.partial(torch.optim.AdamW, **{**hyper, "lr": factor * hyper["lr"]})

    other = dataclasses.replace(FUSED, name="another")
    with unittest.mock.patch.object(type(FUSED), "maker", _only_for("another", hurried, type(FUSED).maker)):
        _, theirs = run(other)
    assert bool(theirs.wrong) is (factor != 1.0)
    assert bool(theirs.seconds) is (factor == 1.0)


def _only_for(name, one, otherwise):
    return lambda self, *arguments: (one if self.name == name else otherwise)(self, *arguments)


def test_ours_comes_first_and_everybody_has_ours_beside_it():
    ours, theirs = run(FUSED)
    assert [row.contestant for row in (ours, theirs)] == ["ours", "torch fused"]
    for row in (ours, theirs):
        assert [len(kept) for kept in (row.seconds, row.host, row.ours)] == [ROUNDS] * 3
        assert (row.tensors, row.elements, row.device, row.dtype) == (3, 3 * 48, "cpu", "float32")
        assert (row.wrong, row.launches, row.sets) == ("", None, 1)
        assert row.first > 0
    assert ours.ours == ours.seconds
    assert theirs.ours != theirs.seconds
    assert (ours.backend, theirs.backend) == ("eager", "")
    assert (ours.bytes, theirs.bytes) == (28 * 3 * 48, 0)
    assert ours.speed == 1.0
    assert theirs.version == FUSED.version


def found_at_each_step():
    Greedy.found.clear()
    assert isinstance(run(contestant(cls="Greedy"))[1], Row)
    assert len(Greedy.found) > WARM_UP + ROUNDS
    return set(Greedy.found)


def test_gradients_that_are_taken_away_are_given_back_before_every_step():
    assert found_at_each_step() == {3}


def test_they_would_be_missed(monkeypatch):
    monkeypatch.setattr(study._Gradients, "__call__", lambda self: None)
    assert found_at_each_step() == {3, 0}


@pytest.mark.parametrize("restored", [True, False])
def test_gradients_that_are_written_into_are_what_they_were_before_every_step(restored, monkeypatch):
    """As pytorch_optimizer's NovoGrad does, and clipping."""
    if not restored:
        monkeypatch.setattr(study._Gradients, "__call__", lambda self: None)
    _, theirs = run(contestant(cls="Writing"))
    assert bool(theirs.wrong) is not restored


def test_parameters_without_gradients_stay_so():
    Greedy.found.clear()
    run(contestant(cls="Greedy"), case="half-missing", tensors=4)
    assert set(Greedy.found) == {2}


def test_who_is_wrong_has_a_reason_and_no_seconds():
    _, wrong, right = run(contestant("sloppy"), contestant("proper"))
    assert wrong.wrong == "scenario longer: step 3"
    assert wrong.seconds == wrong.host == wrong.ours == []
    assert right.wrong == ""
    assert len(right.seconds) == ROUNDS


def test_where_ours_is_wrong_nobody_is_timed(monkeypatch):
    monkeypatch.setattr(study, "examine", lambda *arguments: Verdict(False, "scenario longer: step 3"))
    (row,) = run(FUSED)
    assert (row.contestant, row.wrong, row.seconds) == ("ours", "scenario longer: step 3", [])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (contestant(cls="Raising"), "raises RuntimeError: no kernel image"),
        (contestant(cls="RaisingLate"), "raises RuntimeError: no kernel image"),
        (contestant(cls="Refusing"), "raises AssertionError: needs another machine"),
        (contestant(cls="NoSuchClass"), "AttributeError: module 'tests.benchmarks.wrong' has no attribute"),
        (contestant(devices=("cuda",)), "does not run on cpu"),
        (contestant(optimizer="lion"), "has no such optimizer"),
        (contestant(most_tensors=2), "takes minutes to compile for more than 2 tensors"),
    ],
    ids=["first step", "later", "construction", "class", "device", "optimizer", "tensors"],
)
def test_who_cannot_be_measured_is_left_out_with_the_reason(other, reason):
    ours, skipped, last = run(other, FUSED)
    assert isinstance(skipped, Skipped)
    assert (skipped.case, skipped.optimizer, skipped.contestant) == ("tiny-2000", "adamw", "another")
    assert skipped.reason.startswith(reason)
    assert "\n" not in skipped.reason
    # Nobody else is.
    assert [ours.contestant, last.contestant] == ["ours", "torch fused"]


def test_as_many_tensors_as_it_takes_are_measured():
    assert isinstance(run(contestant(most_tensors=3))[1], Row)


def test_whatever_the_gate_raises_about_others_is_a_reason(monkeypatch):
    def examine(one, *arguments):
        if one is not OURS:
            raise ZeroDivisionError("in their code")
        return Verdict(True)

    monkeypatch.setattr(study, "examine", examine)
    assert run(FUSED)[1].reason == "raises ZeroDivisionError: in their code"


def test_what_the_gate_raises_about_ours_is_not_swallowed(monkeypatch):
    def examine(*arguments):
        raise ZeroDivisionError("in our code")

    monkeypatch.setattr(study, "examine", examine)
    with pytest.raises(ZeroDivisionError, match="in our code"):
        run(FUSED)


@pytest.mark.parametrize("steps", [0, 2], ids=["first", "later"])
def test_what_ours_raises_is_not_swallowed(steps, monkeypatch):
    class Broken(torchopt_notes.AdamW):
        """Breaks after a few steps."""

        def step(self, closure=None):
            self.taken = getattr(self, "taken", 0) + 1
            if self.taken > steps:
                raise RuntimeError("in our code")
            return super().step(closure)

    monkeypatch.setattr(torchopt_notes, "AdamW", Broken)
    with pytest.raises(RuntimeError, match="in our code"):
        run(FUSED)


def test_the_gate_is_asked_once_about_everybody(examined):
    verdicts = {}
    for _ in range(2):
        run(FUSED, verdicts=verdicts)
    run(verdicts=verdicts, optimizer="lion")
    assert examined == [("ours", "adamw"), ("torch fused", "adamw"), ("ours", "lion")]


def test_sets_of_tensors_leave_the_cache(monkeypatch):
    def sets(elements, cache):
        monkeypatch.setattr(study, "last_level_cache", lambda device: cache)
        case = Case("", "", lambda room: [])
        return Study(case, [(elements,)], "adamw", "step", (OURS,), "cpu", torch.float32, ROUNDS).sets

    # 16 bytes an element: parameter, gradient, two states.
    assert sets(1_000, 0) == 1
    assert sets(1_000, 16_000) == 4
    assert sets(1_000, 16_001) == 5
    assert sets(10_000, 16_000) == 1
    assert sets(1_000, 10**9) == MOST_SETS


def test_where_each_set_is_compiled_for_there_are_fewer(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(study, "last_level_cache", lambda device: 10**9)
    ours, compiled, plain = run(contestant("compiled", compiled=True), contestant())
    assert [row.sets for row in (ours, compiled, plain)] == [MOST_SETS, MOST_COMPILED_SETS, MOST_SETS]
