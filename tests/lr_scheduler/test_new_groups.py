"""A group that is added to the optimizer after the scheduler was made."""

import copy

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import CASES, OPTIMIZERS, advance, driven, parameter
from .comparing import far

STEPS = 130
WORKS_WITH_TORCH = (
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR up",
    "LinearLR down",
    "ExponentialLR",
    "PolynomialLR",
    "PolynomialLR short",
    "ChainedScheduler",
    "two in turn",
    "ReduceLROnPlateau",
    "ReduceLROnPlateau after a warm-up",
)
REFUSED = (
    "CyclicLR",
    "CyclicLR of lr only",
    "OneCycleLR",
    "OneCycleLR of lr only",
    "LambdaLR of two",
    "MultiplicativeLR of two",
)
GROUP_LR = 0.02


def add_group(optimizer, **options):
    optimizer.add_param_group({"params": [parameter()], "lr": GROUP_LR} | options)


def with_a_group_from(module, case, at, optimizer_name="torch SGD", steps=STEPS, **options):
    optimizer = OPTIMIZERS[optimizer_name]()
    schedulers = CASES[case](module, optimizer)
    values = []
    for step in range(steps):
        if step == at:
            add_group(optimizer, **options)
        advance(optimizer, schedulers, step)
        values.append(driven(optimizer))
    return values


@pytest.mark.parametrize("optimizer_name", ["torch SGD", "our AdamW"])
@pytest.mark.parametrize("at", [0, 3, 10, 31])
@pytest.mark.parametrize("case", WORKS_WITH_TORCH)
def test_it_goes_on_from_its_own_lr_as_with_torch(case, at, optimizer_name):
    mine = with_a_group_from(ours, case, at, optimizer_name)
    assert far(mine, with_a_group_from(torchs, case, at, f"torch {optimizer_name.split()[1]}")) is None
    assert len(mine[-1]) == 6


def test_a_group_that_does_not_move_would_be_noticed():
    mine = with_a_group_from(ours, "ExponentialLR", 3)
    stays = [[*values[:4], GROUP_LR, 0.9] if len(values) == 6 else values for values in mine]
    assert far(stays, with_a_group_from(torchs, "ExponentialLR", 3)).startswith("[3][4]")


@pytest.mark.parametrize("case", ["CosineAnnealingLR with a floor", "CosineAnnealingLR up and down"])
def test_cosine_annealing_turns_with_it_where_torch_raises(case):
    turn = 61 if "floor" in case else 11
    mine = with_a_group_from(ours, case, 3)
    assert far(mine[: turn - 1], with_a_group_from(torchs, case, 3, steps=turn - 1)) is None
    with pytest.raises(ValueError, match="zip"):
        with_a_group_from(torchs, case, 3, steps=turn)
    # It was at 0.02 at epoch 3; so it is at the epochs that are as far from a top.
    period = 120 if "floor" in case else 20
    assert mine[period - 4][4] == pytest.approx(GROUP_LR, rel=1e-12)
    assert mine[period + 2][4] == pytest.approx(GROUP_LR, rel=1e-12)


def test_lambda_multiplies_its_lr_where_torch_raises():
    values = with_a_group_from(ours, "LambdaLR", 3)
    for step in range(3, STEPS):
        assert values[step][4] == GROUP_LR * 0.95 ** (step + 1)
    with pytest.raises(ValueError, match="zip"):
        with_a_group_from(torchs, "LambdaLR", 3)


def test_multiplicative_multiplies_its_lr_from_there_on_where_torch_raises():
    values = with_a_group_from(ours, "MultiplicativeLR", 3)
    expected = GROUP_LR
    for step in range(3, STEPS):
        expected *= 0.99 + (step + 1) / 1e5
        assert values[step][4] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="zip"):
        with_a_group_from(torchs, "MultiplicativeLR", 3)


def test_restarts_take_its_lr_for_the_top_where_torch_raises():
    values = with_a_group_from(ours, "CosineAnnealingWarmRestarts", 3)
    one = with_a_group_from(ours, "CosineAnnealingWarmRestarts", 3, optimizer_name="torch AdamW")
    for step in range(3, STEPS):
        assert values[step][4] / GROUP_LR == pytest.approx(values[step][0] / 0.1, rel=1e-12)
        assert one[step][4] == values[step][4]
    with pytest.raises(ValueError, match="zip"):
        with_a_group_from(torchs, "CosineAnnealingWarmRestarts", 3)


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_a_list_of_one_for_each_group_raises_as_with_torch(case):
    errors = []
    for module in (ours, torchs):
        with pytest.raises((ValueError, KeyError)) as caught:
            with_a_group_from(module, case, 3)
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


def test_a_list_of_minima_that_is_too_short_raises_when_it_is_needed_and_can_be_made_longer():
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        scheduler = module.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.0, 0.0])
        add_group(optimizer)
        scheduler.step(1.0)
        with pytest.raises(RuntimeError, match="min_lrs"):
            scheduler.step(1.0)
        scheduler.min_lrs = [0.0, 0.0, 0.01]
        scheduler.step(1.0)
        scheduler.step(1.0)
        assert optimizer.param_groups[2]["lr"] == 0.01


def test_a_group_that_says_what_its_base_is_goes_on_from_its_lr_all_the_same():
    mine = with_a_group_from(ours, "ExponentialLR", 3, initial_lr=0.5)
    assert far(mine, with_a_group_from(torchs, "ExponentialLR", 3, initial_lr=0.5)) is None
    again = with_a_group_from(ours, "LambdaLR", 3, initial_lr=0.5)
    assert again[-1][4] == 0.5 * 0.95**STEPS


@pytest.mark.parametrize("case", ["ExponentialLR", "CosineAnnealingWarmRestarts", "LambdaLR"])
def test_it_has_a_base_value_then(case):
    optimizer = OPTIMIZERS["torch SGD"]()
    (scheduler,) = CASES[case](ours, optimizer)
    add_group(optimizer)
    advance(optimizer, [scheduler], 0)
    assert len(scheduler.base_lrs) == len(scheduler.get_last_lr()) == 3
    assert optimizer.param_groups[2]["initial_lr"] == scheduler.base_lrs[2] == pytest.approx(GROUP_LR)


@pytest.mark.parametrize("at", [3, 11, 19, 20, 27])
@pytest.mark.parametrize("case", ["SequentialLR warm-up and cosine", "SequentialLR and restarts", "ChainedScheduler"])
def test_a_run_with_it_is_resumed(case, at):
    optimizer = OPTIMIZERS["torch SGD"]()
    schedulers = CASES[case](ours, optimizer)
    for step in range(33):
        if step == at:
            add_group(optimizer)
        advance(optimizer, schedulers, step)
    state, states = copy.deepcopy((optimizer.state_dict(), [scheduler.state_dict() for scheduler in schedulers]))
    other = OPTIMIZERS["torch SGD"]()
    add_group(other)
    others = CASES[case](ours, other)
    other.load_state_dict(state)
    for scheduler, one in zip(others, states, strict=True):
        scheduler.load_state_dict(one)
    for step in range(33, 60):
        assert driven(other) == driven(optimizer)
        advance(optimizer, schedulers, step)
        advance(other, others, step)


def test_a_state_of_torch_from_before_and_after_the_group_is_loaded():
    optimizer = OPTIMIZERS["torch SGD"]()
    (scheduler,) = CASES["SequentialLR warm-up and cosine"](torchs, optimizer)
    for step in range(33):
        if step == 25:
            add_group(optimizer)
        advance(optimizer, [scheduler], step)
    other = OPTIMIZERS["torch SGD"]()
    add_group(other)
    (mine,) = CASES["SequentialLR warm-up and cosine"](ours, other)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    mine.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for step in range(33, 60):
        assert far(driven(other), driven(optimizer)) is None
        advance(optimizer, [scheduler], step)
        advance(other, [mine], step)
