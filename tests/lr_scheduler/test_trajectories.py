"""The learning rate and the momentum after each of 500 steps are torch's."""

import functools

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import ACCUMULATING, CASES, IN_TURN, OPTIMIZERS, SINGLE, advance, driven, trajectory
from .comparing import far

STEPS = 500


@functools.cache
def of_torch(case, momentum):
    return trajectory(torchs, case, f"torch {momentum}", STEPS)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES)
def test_the_values_after_each_of_500_steps_are_those_of_torch(case, optimizer):
    mine = trajectory(ours, case, optimizer, STEPS)
    assert len(mine) == STEPS + 1
    assert far(mine, of_torch(case, optimizer.split()[1])) is None


@pytest.mark.parametrize("case", CASES)
def test_every_case_moves_something(case):
    values = of_torch(case, "SGD")
    assert len({one[0] for one in values}) > 1
    assert len({one[2] for one in values}) > 1


@pytest.mark.parametrize("case", ["CyclicLR", "OneCycleLR", "SequentialLR of four"])
@pytest.mark.parametrize("momentum", ["SGD", "AdamW"])
def test_cycles_move_momentum(case, momentum):
    assert len({one[1] for one in of_torch(case, momentum)}) > 10


def test_a_learning_rate_off_by_2e_12_at_one_epoch_would_be_noticed(monkeypatch):
    right = ours.ExponentialLR.multiplier

    def wrong(self, epoch):
        return right(self, epoch) * (1 + 2e-12 * (epoch == 499))

    monkeypatch.setattr(ours.ExponentialLR, "multiplier", wrong)
    assert far(trajectory(ours, "ExponentialLR", "torch SGD", STEPS), of_torch("ExponentialLR", "SGD")).startswith(
        "[499]"
    )


@pytest.mark.parametrize(("name", "method"), [("CyclicLR", "_lower_momentum"), ("OneCycleLR", "drive_momentum")])
def test_momentum_that_stays_would_be_noticed(name, method, monkeypatch):
    monkeypatch.setattr(getattr(ours, name), method, lambda self, at: None)
    assert far(trajectory(ours, name, "torch SGD", STEPS), of_torch(name, "SGD")).startswith("[1][1]")


def changed_by_hand(module, case, at, change):
    optimizer = OPTIMIZERS["torch SGD"]()
    schedulers = CASES[case](module, optimizer)
    values = []
    for step in range(at + 150):
        if step == at:
            change(optimizer.param_groups)
        advance(optimizer, schedulers, step)
        values.append(driven(optimizer))
    return values


def halve(groups):
    for group in groups:
        group["lr"] *= 0.5


def set_one(groups):
    groups[1]["lr"] = 0.123


@pytest.mark.parametrize("change", [halve, set_one])
@pytest.mark.parametrize("at", [0, 57])
# What comes after zero, torch multiplies with the factor of each later step; from a product of zero, none can be had.
@pytest.mark.parametrize("case", [case for case in CASES if case != "StepLR to zero"])
def test_what_is_set_by_hand_goes_on_as_with_torch(case, at, change):
    mine, theirs = (changed_by_hand(module, case, at, change) for module in (ours, torchs))
    assert far(mine, theirs) is None


def test_a_change_by_hand_that_is_lost_would_be_noticed():
    mine = changed_by_hand(ours, "ExponentialLR", 27, lambda groups: None)
    assert far(mine, changed_by_hand(torchs, "ExponentialLR", 27, halve)).startswith("[27]")


@pytest.mark.parametrize("case", CASES)
def test_public_attributes_are_those_of_torch(case):
    found = []
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        schedulers = CASES[case](module, optimizer)
        for step in range(75):
            advance(optimizer, schedulers, step)
        found.append([public(scheduler) for scheduler in schedulers])
    assert far(*found) is None


def public(scheduler):
    values = {key: value for key, value in vars(scheduler).items() if not key.startswith("_")}
    values["get_last_lr()"] = scheduler.get_last_lr()
    values["children"] = [public(one) for one in getattr(scheduler, "_schedulers", [])]
    for key in ("optimizer", "lr_lambdas"):
        values.pop(key, None)
    return values


@pytest.mark.parametrize("case", SINGLE | ACCUMULATING | IN_TURN)
def test_passing_an_epoch_goes_where_it_goes_with_torch(case):
    found = []
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        schedulers = CASES[case](module, optimizer)
        optimizer.step()
        values = []
        for epoch in (1, 2, 40, 7, 8, 100, 0, 300):
            for scheduler in schedulers:
                if isinstance(scheduler, torchs.CosineAnnealingWarmRestarts):
                    scheduler.step(epoch)
                else:
                    with pytest.warns(UserWarning, match="epoch parameter"):
                        scheduler.step(epoch)
            values.append(driven(optimizer))
        found.append(values)
    assert far(*found) is None
