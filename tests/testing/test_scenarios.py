"""Every scenario catches what only it can: a mistake that shows in its situation, and that ``shapes`` lets pass."""

import functools

import pytest
import torch

from tests.testing.wrong import MISTAKES, WrongAdam
from torchopt_notes.testing import SCENARIOS, compare, find_scenarios


def verdict(scenario, mistake):
    candidate_kwargs = {"mistake": mistake, **({"backend": "fast"} if scenario == "switch" else {})}
    (outcome,) = compare(
        WrongAdam, torch.optim.Adam, candidate_kwargs=candidate_kwargs, scenarios=scenario, ulp=0, kwargs={"lr": 1e-2}
    )
    return outcome


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_a_right_optimizer_passes(scenario):
    assert verdict(scenario, None).verdict in ("same", "refused")


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_each_scenario_catches_a_mistake(scenario):
    assert verdict(scenario, MISTAKES[scenario]).verdict == "failed"


@pytest.mark.parametrize("scenario", sorted(MISTAKES.keys() - {"shapes", "no-empty-shapes"}))
def test_shapes_alone_would_not(scenario):
    assert verdict("shapes", MISTAKES[scenario]).verdict == "same"


def test_an_unknown_scenario_is_refused_with_all_names():
    with pytest.raises(ValueError, match=r"no scenario is called 'shape'; there are shapes, no-empty-shapes, .*longer"):
        find_scenarios("shape")


def test_a_decay_that_one_of_the_two_lacks_is_left_alone():
    assert "weight_decay" not in WrongAdam([torch.nn.Parameter(torch.ones(1))]).defaults
    assert verdict("groups", None).verdict == "same"


@pytest.mark.parametrize("reference", [torch.optim.Adam, functools.partial(torch.optim.Adam, foreach=False)])
def test_what_the_oracle_says_names_the_element_that_is_nan(reference):
    (outcome,) = compare(
        WrongAdam, reference, candidate_kwargs={"mistake": MISTAKES["not-finite"]}, scenarios="not-finite", ulp=2
    )
    assert outcome.verdict == "failed"
    assert outcome.difference.element in [(0,), (1,), (2,)]
    assert outcome.difference.ulp == float("inf")
