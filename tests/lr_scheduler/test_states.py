"""State dicts are torch's: the same keys and values, and a run may change between the two classes in the middle."""

import copy

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import CASES, OPTIMIZERS, advance, advance_schedulers, driven, parameter, trajectory
from .comparing import far

STEPS = (0, 1, 6, 20, 31, 77)
AFTER = 60


def run(module, case, steps, optimizer_name="torch SGD"):
    optimizer = OPTIMIZERS[optimizer_name]()
    schedulers = CASES[case](module, optimizer)
    for step in range(steps):
        advance(optimizer, schedulers, step)
    return optimizer, schedulers


def saved(optimizer, schedulers):
    return copy.deepcopy((optimizer.state_dict(), [scheduler.state_dict() for scheduler in schedulers]))


def gone_on(optimizer, schedulers, step):
    values = [driven(optimizer)]
    for later in range(step, step + AFTER):
        advance(optimizer, schedulers, later)
        values.append(driven(optimizer))
    return values


def moved(source, target, case, step):
    """The trajectory of a run that goes on, from ``step``, in another module's classes."""
    state, states = saved(*run(source, case, step))
    optimizer = OPTIMIZERS["torch SGD"]()
    schedulers = CASES[case](target, optimizer)
    optimizer.load_state_dict(state)
    for scheduler, one in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(one)
    return gone_on(optimizer, schedulers, step)


def without_values(state):
    return {key: value for key, value in state.items() if key != "values"}


def in_order(state):
    """A state whose last learning rates are left out where another scheduler has changed them since."""
    state = {key: value for key, value in state.items() if key != "_last_lr"}
    if "_schedulers" in state:
        state["_schedulers"] = list(map(in_order, state["_schedulers"]))
    return state


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("case", CASES)
def test_a_state_has_the_keys_and_values_of_torch(case, step):
    _, mine = saved(*run(ours, case, step))
    _, theirs = saved(*run(torchs, case, step))
    if "Plateau" in case:
        # The one key more: what else than lr a ReduceOnPlateau reduces has no place in torch's state.
        assert set(mine[-1]) - set(theirs[-1]) == {"values"}
        mine = list(map(without_values, mine))
    assert far(list(map(in_order, mine)), list(map(in_order, theirs))) is None
    assert far(mine[-1]["_last_lr"], theirs[-1]["_last_lr"]) is None


@pytest.mark.parametrize("case", CASES)
def test_the_last_learning_rates_of_a_state_are_the_present_ones(case):
    optimizer, schedulers = run(ours, case, 15)
    for group in optimizer.param_groups:
        group["lr"] *= 0.7
    lrs = [group["lr"] for group in optimizer.param_groups]
    for state in saved(optimizer, schedulers)[1]:
        assert state["_last_lr"] == lrs
        if "a user's" not in case:
            assert all(child["_last_lr"] == lrs for child in state.get("_schedulers", []))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("source", "target"), [(torchs, ours), (ours, torchs)], ids=["from torch", "to torch"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_in_the_classes_of_the_other_module(case, source, target, step):
    assert far(moved(source, target, case, step), trajectory(torchs, case, "torch SGD", step + AFTER)[step:]) is None


def test_a_state_that_is_a_step_behind_would_be_noticed():
    mine = moved(torchs, ours, "ExponentialLR", 13)
    assert far(mine, trajectory(torchs, "ExponentialLR", "torch SGD", 12 + AFTER)[12:]) is not None


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_to_torch_and_comes_back(case):
    state, states = saved(*run(ours, case, 11))
    for module, step in ((torchs, 11), (ours, 24)):
        optimizer = OPTIMIZERS["torch SGD"]()
        schedulers = CASES[case](module, optimizer)
        optimizer.load_state_dict(state)
        for scheduler, one in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(one)
        if module is torchs:
            for later in range(step, 24):
                advance(optimizer, schedulers, later)
            state, states = saved(optimizer, schedulers)
    assert far(gone_on(optimizer, schedulers, 24), trajectory(torchs, case, "torch SGD", 24 + AFTER)[24:]) is None


@pytest.mark.parametrize("case", CASES)
def test_loading_leaves_the_state_as_it_was_so_that_it_can_be_loaded_again(case):
    _, states = saved(*run(ours, case, 20))
    before = copy.deepcopy(states)
    _optimizer, schedulers = run(ours, case, 3)
    for _ in range(2):
        for scheduler, state in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        advance_schedulers(schedulers, 20)
    assert states == before


@pytest.mark.parametrize("case", CASES)
def test_a_state_in_hand_does_not_change_as_the_run_goes_on(case):
    optimizer, schedulers = run(ours, case, 4)
    states = [scheduler.state_dict() for scheduler in schedulers]
    before = copy.deepcopy(states)
    # Those with a list of one value for each group take no more groups.
    if case in ("StepLR", "LambdaLR", "SequentialLR and restarts", "ChainedScheduler", "two in turn"):
        optimizer.add_param_group({"params": [parameter()], "lr": 0.01})
    for step in range(4, 9):
        advance(optimizer, schedulers, step)
    assert states == before


@pytest.mark.parametrize("case", CASES)
def test_a_state_for_another_number_of_groups_is_refused_and_changes_nothing(case):
    states = saved(*run(ours, case, 5))[1]
    for state in states:
        state["_last_lr"] = state["_last_lr"][:1]
        if "values" in state:
            state["values"] = {"lr": state["values"]["lr"][:1]}
    optimizer, schedulers = run(ours, case, 2)
    before = saved(optimizer, schedulers)
    for scheduler, state in zip(schedulers, states, strict=True):
        with pytest.raises(ValueError, match=r"the state has 1 .* the optimizer (has )?2 groups"):
            scheduler.load_state_dict(state)
    assert saved(optimizer, schedulers) == before


@pytest.mark.parametrize("case", CASES)
def test_states_are_read_without_running_code_of_theirs(case, tmp_path):
    states = saved(*run(ours, case, 33))[1]
    torch.save(states, tmp_path / "states.pt")
    assert torch.load(tmp_path / "states.pt", weights_only=True) == states
