"""A scheduler that is made with ``last_epoch=k`` goes on from epoch k + 1."""

import copy
import functools

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import ACCUMULATING, CASES, IN_TURN, OPTIMIZERS, SEQUENTIAL, SINGLE, advance, driven, parameter
from .comparing import far

LAST = 45
STEPS = 25
RESUMABLE = SINGLE | ACCUMULATING | SEQUENTIAL | IN_TURN


@functools.cache
def uninterrupted(case, optimizer_name):
    """What is driven, and the optimizer's state, at each step."""
    optimizer = OPTIMIZERS[optimizer_name]()
    schedulers = CASES[case](ours, optimizer)
    values, states = [driven(optimizer)], [copy.deepcopy(optimizer.state_dict())]
    for step in range(LAST + STEPS + 1):
        advance(optimizer, schedulers, step)
        values.append(driven(optimizer))
        states.append(copy.deepcopy(optimizer.state_dict()))
    return values, states


def gone_on(module, case, optimizer, last_epoch):
    schedulers = CASES[case](module, optimizer, last_epoch=last_epoch)
    assert {scheduler.last_epoch for scheduler in schedulers} == {last_epoch + 1}
    values = [driven(optimizer)]
    for step in range(STEPS):
        advance(optimizer, schedulers, last_epoch + 1 + step)
        values.append(driven(optimizer))
    return values


def with_state(case, optimizer_name, step):
    optimizer = OPTIMIZERS[optimizer_name]()
    optimizer.load_state_dict(uninterrupted(case, optimizer_name)[1][step])
    return optimizer


def with_bases_only(case, optimizer_name, step):
    """An optimizer whose groups have what schedulers keep there, and the base for learning rate."""
    optimizer = OPTIMIZERS[optimizer_name]()
    saved = uninterrupted(case, optimizer_name)[1][step]["param_groups"]
    for group, one in zip(optimizer.param_groups, saved, strict=True):
        group |= {key: one[key] for key in one.keys() - group.keys()}
        group["lr"] = group["initial_lr"]
    return optimizer


@pytest.mark.parametrize("optimizer_name", ["torch SGD", "our AdamW"])
@pytest.mark.parametrize("case", RESUMABLE)
def test_with_the_state_of_the_optimizer_a_run_goes_on_as_if_nothing_had_happened(case, optimizer_name):
    values = uninterrupted(case, optimizer_name)[0]
    for last_epoch in range(LAST):
        optimizer = with_state(case, optimizer_name, last_epoch + 1)
        expected = values[last_epoch + 1 :][: STEPS + 1]
        assert far(gone_on(ours, case, optimizer, last_epoch), expected) is None, last_epoch


@pytest.mark.parametrize("case", SINGLE | SEQUENTIAL)
def test_with_the_base_values_alone_too(case):
    values = uninterrupted(case, "torch SGD")[0]
    for last_epoch in range(LAST):
        optimizer = with_bases_only(case, "torch SGD", last_epoch + 1)
        expected = values[last_epoch + 1 :][: STEPS + 1]
        assert far(gone_on(ours, case, optimizer, last_epoch), expected) is None, last_epoch


def test_where_a_milestone_of_torch_counts_twice_it_would_be_noticed():
    values = uninterrupted("StepLR", "torch SGD")[0]
    wrong = []
    for last_epoch in range(LAST):
        theirs = gone_on(torchs, "StepLR", with_state("StepLR", "torch SGD", last_epoch + 1), last_epoch)
        if far(theirs, values[last_epoch + 1 :][: STEPS + 1]):
            wrong.append(last_epoch + 1)
    assert wrong == list(range(7, LAST + 1, 7))


@pytest.mark.parametrize("case", ["ExponentialLR", "LinearLR up", "CosineAnnealingLR", "PolynomialLR"])
def test_a_learning_rate_that_others_have_had_their_part_in_stays_as_with_torch(case):
    found = []
    for module in (ours, torchs):
        optimizer = with_state(case, "torch SGD", 11)
        for group in optimizer.param_groups:
            group["lr"] *= 0.3
        found.append(gone_on(module, case, optimizer, 10))
    assert far(*found) is None


def test_one_of_the_epoch_before_is_not_taken_for_that():
    optimizer = with_state("ExponentialLR", "torch SGD", 10)
    expected = uninterrupted("ExponentialLR", "torch SGD")[0][11:][: STEPS + 1]
    assert far(gone_on(ours, "ExponentialLR", optimizer, 10), expected) is None


@pytest.mark.parametrize("others", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_are_resumed_like_numbers(dtype, others):
    lr = torch.tensor(0.1 * 0.9**11 * others, dtype=dtype)
    optimizer = torch.optim.SGD([{"params": [parameter()], "initial_lr": 0.1}], lr=lr)
    scheduler = ours.ExponentialLR(optimizer, 0.9, last_epoch=10)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    torch.testing.assert_close(lr, torch.tensor(0.1 * 0.9**12 * others, dtype=dtype))


@pytest.mark.parametrize("case", SINGLE | ACCUMULATING | IN_TURN)
def test_without_initial_lr_it_is_an_error_as_with_torch(case):
    errors = []
    for module in (ours, torchs):
        with pytest.raises(KeyError, match="initial_lr") as caught:
            CASES[case](module, OPTIMIZERS["torch SGD"](), last_epoch=3)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("case", SEQUENTIAL)
def test_a_row_finds_the_base_values_that_its_schedulers_keep(case):
    for module in (ours, torchs):
        (scheduler,) = CASES[case](module, OPTIMIZERS["torch SGD"](), last_epoch=3)
        assert scheduler.last_epoch == 4


@pytest.mark.parametrize("case", SINGLE)
def test_minus_one_begins_anew(case):
    optimizers = [OPTIMIZERS["torch SGD"]() for _ in range(2)]
    (fresh,), (also_fresh,) = SINGLE[case](ours, optimizers[0]), SINGLE[case](ours, optimizers[1], last_epoch=-1)
    assert fresh.last_epoch == also_fresh.last_epoch == 0
    assert driven(optimizers[0]) == driven(optimizers[1])
