"""The gate lets through who is right, and nobody else."""

from dataclasses import replace

import pytest
import torch

from benchmarks import gate
from benchmarks.contestants import (
    HYPERPARAMETERS,
    OURS,
    YARDSTICK,
    Contestant,
    Entry,
    UnavailableError,
    find_contestants,
)
from benchmarks.contestants.own import EAGER
from benchmarks.gate import Verdict
from tests.backends import MISSING
from tests.benchmarks.wrong import MISTAKES, contestant
from torchopt_notes.testing import Outcome

DEFAULT, FUSED = find_contestants(["torch default", "torch fused"])[1:]


def examine(one, optimizer="adamw"):
    return gate.examine(one, optimizer, HYPERPARAMETERS[optimizer], "cpu", torch.float32)


@pytest.mark.parametrize(
    ("one", "optimizer"),
    [(DEFAULT, "adamw"), (FUSED, "sgd"), (EAGER, "adamw"), (EAGER, "lion"), (contestant(), "adamw")],
    ids=["torch", "fused", "eager", "eager-lion", "another"],
)
def test_who_is_right_is_let_through(one, optimizer):
    assert examine(one, optimizer) == Verdict(True)


# Among the quick tests, test_command.py's run of the command asks for the same.
@pytest.mark.full
@pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))
def test_ours_is_right_compiled():
    assert examine(OURS) == Verdict(True)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_who_is_wrong_is_not_and_it_says_where(mistake):
    verdict = examine(contestant(mistake=mistake))
    assert not verdict.right
    assert verdict.reason.startswith(f"scenario {gate.SCENARIOS[0]}: step 1, params[")


def test_another_formula_under_the_same_name_is_wrong():
    """Lion has none of torch's: it is held against the eager reference."""
    impostor = Contestant("another", "another", "torch.optim", {"lion": Entry("Adam")})
    assert not examine(impostor, "lion").right


def test_who_raises_is_unavailable_and_says_what():
    with pytest.raises(UnavailableError, match=r"the candidate raises RuntimeError.*no kernel image"):
        examine(contestant(cls="Raising"))


def test_who_cannot_run_here_is_unavailable():
    with pytest.raises(UnavailableError, match="does not run on cpu"):
        examine(contestant(devices=("cuda",)))


@pytest.mark.parametrize("one", [OURS, EAGER], ids=lambda one: one.name)
def test_ours_is_never_unavailable_for_what_it_raises(one, monkeypatch):
    """It is wrong: a defect of this package must not read like a missing one."""
    raising = Outcome("longer", "failed", "the candidate raises ValueError()")
    monkeypatch.setattr(gate, "compare", lambda *arguments, **options: [raising])
    assert examine(one) == Verdict(False, "scenario longer: the candidate raises ValueError()")
    with pytest.raises(UnavailableError):
        examine(contestant())


@pytest.fixture
def asked(monkeypatch):
    """What the harness is asked to compare."""
    found = []

    def compare(candidate, reference, **options):
        found.append((candidate, reference, options))
        return []

    monkeypatch.setattr(gate, "compare", compare)
    return found


@pytest.mark.parametrize(("device", "backend"), [("cpu", "compiled"), ("cuda", "triton")])
def test_ours_is_examined_on_its_fast_backend(device, backend, asked):
    gate.examine(OURS, "adamw", HYPERPARAMETERS["adamw"], device, torch.float32)
    examine(EAGER)
    params = [torch.nn.Parameter(torch.ones(3))]
    assert [candidate.keywords.get("backend") for candidate, _, _ in asked] == [backend, None]
    assert asked[1][0](params).backend == "eager"
    if device == "cpu":
        made = asked[0][0](params)
        params[0].grad = torch.ones(3)
        assert [bucket.backend for bucket in made.explain()] == ["compiled"]
        # Left to itself it would not be.
        assert [bucket.backend for bucket in OURS.maker("adamw", {}, "cpu")(params).explain()] == ["eager"]


@pytest.mark.parametrize(("optimizer", "reference"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_reference_is_torchs_with_the_same_hyperparameters(optimizer, reference, asked):
    examine(EAGER, optimizer)
    assert asked[0][1].func is reference
    assert asked[0][1].keywords == HYPERPARAMETERS[optimizer]


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "ademamix"])
def test_a_decay_that_another_package_forgets_shows(optimizer):
    """At the decays that are timed it would pass for a rounding."""
    right = Contestant("another", OURS.name, "torchopt_notes", EAGER.entries)
    entry = EAGER.entries[optimizer]
    forgetful = {optimizer: replace(entry, fixed={**entry.fixed, "weight_decay": 0.0})}
    assert examine(right, optimizer).right
    assert not examine(replace(right, entries=forgetful), optimizer).right


def test_without_one_of_torchs_it_is_the_eager_one(asked):
    examine(OURS, "lion")
    made = asked[0][1]([torch.nn.Parameter(torch.ones(3))])
    assert (type(made).__name__, made.backend) == ("Lion", "eager")


def test_ours_is_held_to_tighter_bounds_than_others(asked):
    examine(OURS)
    examine(DEFAULT)
    ours, theirs = (options for _, _, options in asked)
    assert ours["states"] is True
    assert theirs["states"] is False
    assert ours["ulp"] < theirs["ulp"]


def test_the_yardstick_is_not_asked(asked):
    assert examine(YARDSTICK, "lion") == Verdict(True)
    assert asked == []
