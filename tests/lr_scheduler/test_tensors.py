"""Learning rates and momenta that are tensors: filled where they are, as captured CUDA graphs need it."""

import copy

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes
import torchopt_notes.lr_scheduler as ours

from .cases import CASES, OPTIMIZERS, advance, driven, parameter

STEPS = 70
KINDS = [
    pytest.param(dtype, shape, id=f"{str(dtype)[6:]}{list(shape)}")
    for dtype in (torch.float32, torch.float64)
    for shape in ((), (1,))
]
MAKERS = {"torch SGD": torch.optim.SGD, "our SGD": torchopt_notes.SGD}


def with_tensors(name, dtype, shape, momentum=0.9):
    lrs = [torch.full(shape, lr, dtype=dtype) for lr in (0.1, 0.037)]
    groups = [{"params": [parameter()], "lr": lr} for lr in lrs]
    return MAKERS[name](groups, lr=0.1, momentum=momentum), lrs


def numbers(optimizer):
    return [float(value) for value in driven(optimizer)]


def trajectory(module, case, optimizer):
    schedulers = CASES[case](module, optimizer)
    values = [numbers(optimizer)]
    for step in range(STEPS):
        advance(optimizer, schedulers, step)
        values.append(numbers(optimizer))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "shape"), KINDS)
@pytest.mark.parametrize("case", CASES)
def test_the_tensor_stays_and_has_the_value_to_its_precision(case, dtype, shape):
    name = "our SGD" if dtype is torch.float32 else "torch SGD"
    optimizer, lrs = with_tensors(name, dtype, shape)
    places = [lr.data_ptr() for lr in lrs]
    values = trajectory(ours, case, optimizer)
    for group, lr, place in zip(optimizer.param_groups, lrs, places, strict=True):
        assert group["lr"] is lr
        assert (lr.data_ptr(), lr.dtype, lr.shape) == (place, dtype, shape)
    exact = trajectory(ours, case, OPTIMIZERS["torch SGD"]())
    # Where each value is made from the one before (two schedulers, a product of factors), each adds its rounding.
    alone = not any(word in case for word in ("Multiplicative", "Chained", "in turn", "Plateau"))
    rtol = torch.finfo(dtype).eps * (4 if alone else 2 * STEPS)
    torch.testing.assert_close(values, exact, rtol=rtol, atol=0.1 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "shape"), KINDS)
@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_torch_as_far_as_its_rounding_allows(case, dtype, shape):
    mine, theirs = (trajectory(module, case, with_tensors("torch SGD", dtype, shape)[0]) for module in (ours, torchs))
    eps = torch.finfo(dtype).eps
    # Differences of much larger numbers, with torch.
    atol = (20 if case == "CosineAnnealingLR above its base" else 0.01) * eps
    torch.testing.assert_close(mine, theirs, rtol=3 * STEPS * eps, atol=atol)


def test_a_tensor_that_is_replaced_would_be_noticed():
    optimizer, lrs = with_tensors("torch SGD", torch.float32, ())
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 1
    trajectory(ours, "ExponentialLR", optimizer)
    assert all(group["lr"] is not lr for group, lr in zip(optimizer.param_groups, lrs, strict=True))


@pytest.mark.parametrize(("dtype", "shape"), KINDS)
@pytest.mark.parametrize("case", ["ExponentialLR", "CosineAnnealingLR with a floor", "LinearLR up", "StepLR"])
def test_a_factor_set_by_hand_stays(case, dtype, shape):
    found = []
    for module in (ours, torchs):
        optimizer, lrs = with_tensors("torch SGD", dtype, shape)
        schedulers = CASES[case](module, optimizer)
        for step in range(40):
            if step == 20:
                lrs[0].mul_(0.5)
            advance(optimizer, schedulers, step)
        found.append(torch.tensor(numbers(optimizer)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=0.0)
    unchanged, _ = with_tensors("torch SGD", dtype, shape)
    schedulers = CASES[case](ours, unchanged)
    for step in range(40):
        advance(unchanged, schedulers, step)
    assert abs(found[0][0] / numbers(unchanged)[0] - 1) > 0.2


@pytest.mark.parametrize("case", CASES)
def test_last_learning_rates_are_copies(case):
    optimizer, lrs = with_tensors("torch SGD", torch.float32, ())
    schedulers = CASES[case](ours, optimizer)
    advance(optimizer, schedulers, 0)
    last = schedulers[-1].get_last_lr()
    before = [lr.clone() for lr in lrs]
    assert last == before
    for lr in lrs:
        lr.zero_()
    assert last == before
    for lr in last:
        lr.fill_(7.0)
    assert lrs == [0.0, 0.0]


@pytest.mark.parametrize("case", CASES)
def test_base_values_are_copies(case):
    optimizer, lrs = with_tensors("torch SGD", torch.float32, ())
    schedulers = CASES[case](ours, optimizer)
    kept = [group["initial_lr"] for group in optimizer.param_groups if "initial_lr" in group]
    kept += [base for scheduler in schedulers for base in getattr(scheduler, "base_lrs", [])]
    assert not any(one is lr for one in kept for lr in lrs)


@pytest.mark.parametrize("at", [0, 1, 20, 33])
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_has_the_same_bits_and_fills_the_new_tensor(case, at):
    optimizer, _ = with_tensors("torch SGD", torch.float32, ())
    schedulers = CASES[case](ours, optimizer)
    for step in range(at):
        advance(optimizer, schedulers, step)
    states = copy.deepcopy([scheduler.state_dict() for scheduler in schedulers])
    other, lrs = with_tensors("torch SGD", torch.float32, ())
    others = CASES[case](ours, other)
    for scheduler, state in zip(others, states, strict=True):
        scheduler.load_state_dict(state)
    for step in range(at, at + 30):
        assert numbers(other) == numbers(optimizer)
        advance(optimizer, schedulers, step)
        advance(other, others, step)
    assert all(group["lr"] is lr for group, lr in zip(other.param_groups, lrs, strict=True))


def test_a_state_with_tensors_and_the_scheduler_do_not_share_them():
    optimizer, _ = with_tensors("torch SGD", torch.float32, ())
    (scheduler,) = CASES["ExponentialLR"](ours, optimizer)
    state = scheduler.state_dict()
    other = OPTIMIZERS["torch SGD"]()
    (one,) = CASES["ExponentialLR"](ours, other)
    one.load_state_dict(state)
    before = copy.deepcopy(state)
    for step in range(3):
        advance(other, [one], step)
        advance(optimizer, [scheduler], step)
    assert state == before


MOMENTA = {
    "torch SGD": lambda one: torch.optim.SGD([parameter()], lr=0.1, momentum=one),
    "our SGD": lambda one: torchopt_notes.SGD([parameter()], lr=0.1, momentum=one),
    "torch AdamW": lambda one: torch.optim.AdamW([parameter()], betas=(one, torch.tensor(0.99)), foreach=False),
    "our AdamW": lambda one: torchopt_notes.AdamW([parameter()], betas=(one, torch.tensor(0.99))),
}


def momentum_of(optimizer):
    (group,) = optimizer.param_groups
    return group["betas"][0] if "betas" in group else group["momentum"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MOMENTA)
@pytest.mark.parametrize("case", ["CyclicLR", "CyclicLR exp_range", "OneCycleLR in three phases"])
def test_a_momentum_that_is_a_tensor_is_filled_where_it_is(case, name, dtype):
    optimizer = MOMENTA[name](torch.tensor(0.5, dtype=dtype))
    one = momentum_of(optimizer)
    theirs = torch.optim.SGD([parameter()], lr=0.1, momentum=0.5)
    schedulers, expected = CASES[case](ours, optimizer), CASES[case](torchs, theirs)
    for step in range(STEPS):
        assert momentum_of(optimizer) is one
        torch.testing.assert_close(float(one), momentum_of(theirs), rtol=2 * torch.finfo(dtype).eps, atol=0.0)
        advance(optimizer, schedulers, step)
        advance(theirs, expected, step)
    if "AdamW" in name:
        assert optimizer.param_groups[0]["betas"] == (one, torch.tensor(0.99))


def test_a_momentum_that_torch_replaces_would_be_noticed():
    one = torch.tensor(0.5)
    optimizer = MOMENTA["torch SGD"](one)
    CASES["CyclicLR"](torchs, optimizer)
    assert momentum_of(optimizer) is not one


@pytest.mark.parametrize("case", ["CyclicLR of lr only", "OneCycleLR of lr only"])
def test_a_momentum_that_is_not_cycled_stays(case):
    one = torch.tensor(0.5)
    optimizer = MOMENTA["torch SGD"](one)
    schedulers = CASES[case](ours, optimizer)
    advance(optimizer, schedulers, 0)
    assert momentum_of(optimizer) is one
    assert one == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda m, o: m.CyclicLR(o, 0.1, 1.0, 3, base_momentum=torch.tensor(0.85), max_momentum=torch.tensor(0.95)),
        lambda m, o: m.OneCycleLR(o, 1.0, 20, base_momentum=torch.tensor(0.85), max_momentum=torch.tensor(0.95)),
    ],
)
def test_bounds_that_are_tensors_stay_bounds(make):
    found = []
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        scheduler = make(module, optimizer)
        values = []
        for step in range(18):
            advance(optimizer, [scheduler], step)
            values.append(numbers(optimizer))
        found.append(torch.tensor(values))
    torch.testing.assert_close(*found)
    assert found[0][:, 1].unique().numel() > 3
