"""Bad arguments raise what they raise with torch: the same type, the same words."""

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes
import torchopt_notes.lr_scheduler as ours

from .cases import OPTIMIZERS, parameter


def sgd():
    return OPTIMIZERS["torch SGD"]()


def without_momentum():
    return torch.optim.Adagrad([parameter()], lr=0.1)


class NoScheduler:
    """Has no optimizer, and cannot be stepped."""


NOT_AN_OPTIMIZER = {
    "LambdaLR": lambda m: m.LambdaLR("sgd", lambda epoch: 1),
    "MultiplicativeLR": lambda m: m.MultiplicativeLR("sgd", lambda epoch: 1),
    "StepLR": lambda m: m.StepLR("sgd", 3),
    "MultiStepLR": lambda m: m.MultiStepLR("sgd", [3]),
    "ConstantLR": lambda m: m.ConstantLR("sgd"),
    "LinearLR": lambda m: m.LinearLR("sgd"),
    "ExponentialLR": lambda m: m.ExponentialLR("sgd", 0.9),
    "PolynomialLR": lambda m: m.PolynomialLR("sgd"),
    "CosineAnnealingLR": lambda m: m.CosineAnnealingLR("sgd", 9),
    "CosineAnnealingWarmRestarts": lambda m: m.CosineAnnealingWarmRestarts("sgd", 9),
    "CyclicLR": lambda m: m.CyclicLR("sgd", 0.1, 1.0),
    "CyclicLR by name": lambda m: m.CyclicLR(optimizer=torch.nn.Linear(1, 1), base_lr=0.1, max_lr=1.0),
    "OneCycleLR": lambda m: m.OneCycleLR("sgd", 0.1, 10),
}
BAD = {
    "one function for two groups": lambda m: m.LambdaLR(sgd(), [lambda epoch: 1]),
    "a number for a function": lambda m: m.LambdaLR(sgd(), 3),
    "one factor for two groups": lambda m: m.MultiplicativeLR(sgd(), [lambda epoch: 1]),
    "a number for a factor": lambda m: m.MultiplicativeLR(sgd(), 3),
    "a constant factor above one": lambda m: m.ConstantLR(sgd(), 1.5),
    "a constant factor below zero": lambda m: m.ConstantLR(sgd(), -0.1),
    "a start above one": lambda m: m.LinearLR(sgd(), 1.5),
    "a start of zero": lambda m: m.LinearLR(sgd(), 0.0),
    "an end above one": lambda m: m.LinearLR(sgd(), 0.5, 1.5),
    "an end below zero": lambda m: m.LinearLR(sgd(), 0.5, -0.5),
    "milestones that are a number": lambda m: m.MultiStepLR(sgd(), 30),
    "a first run of no length": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 0),
    "a first run of half an epoch": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 0.5),
    "runs that become shorter": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 3, 0),
    "runs half as long again": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 3, 1.5),
    "a floor that is no number": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 3, eta_min="0"),
    "an epoch before the first": lambda m: m.CosineAnnealingWarmRestarts(sgd(), 3).step(-1),
    "three lower bounds for two groups": lambda m: m.CyclicLR(sgd(), [0.1] * 3, 1.0),
    "one upper bound for two groups": lambda m: m.CyclicLR(sgd(), 0.1, [1.0]),
    "an unknown mode": lambda m: m.CyclicLR(sgd(), 0.1, 1.0, mode="square"),
    "cycles without momentum": lambda m: m.CyclicLR(without_momentum(), 0.1, 1.0),
    "one momentum for two groups": lambda m: m.CyclicLR(sgd(), 0.1, 1.0, base_momentum=[0.8]),
    "one cycle of nothing": lambda m: m.OneCycleLR(sgd(), 0.1),
    "no steps": lambda m: m.OneCycleLR(sgd(), 0.1, 0),
    "half a step": lambda m: m.OneCycleLR(sgd(), 0.1, 0.5),
    "no epochs": lambda m: m.OneCycleLR(sgd(), 0.1, epochs=0, steps_per_epoch=3),
    "no steps in an epoch": lambda m: m.OneCycleLR(sgd(), 0.1, epochs=3, steps_per_epoch=-1),
    "epochs without their steps": lambda m: m.OneCycleLR(sgd(), 0.1, epochs=3),
    "a share above one": lambda m: m.OneCycleLR(sgd(), 0.1, 10, pct_start=1.5),
    "a share that is an integer": lambda m: m.OneCycleLR(sgd(), 0.1, 10, pct_start=1),
    "an unknown way to anneal": lambda m: m.OneCycleLR(sgd(), 0.1, 10, anneal_strategy="square"),
    "three maxima for two groups": lambda m: m.OneCycleLR(sgd(), [0.1] * 3, 10),
    "one cycle without momentum": lambda m: m.OneCycleLR(without_momentum(), 0.1, 10),
    "a row of nothing": lambda m: m.SequentialLR(sgd(), [], []),
    "a chain of nothing": lambda m: m.ChainedScheduler([]),
    "a row of no schedulers": lambda m: m.SequentialLR(sgd(), [NoScheduler()], []),
    "a chain of no schedulers": lambda m: m.ChainedScheduler([NoScheduler()], sgd()),
}


def error_of(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one, torch says
        call()
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("case", NOT_AN_OPTIMIZER)
def test_something_that_is_no_optimizer(case):
    kind, text = error_of(lambda: NOT_AN_OPTIMIZER[case](ours))
    assert (kind, text) == error_of(lambda: NOT_AN_OPTIMIZER[case](torchs))
    assert "optimizer" in text.lower() or "param_groups" in text


@pytest.mark.parametrize("case", BAD)
def test_the_error_is_that_of_torch(case):
    assert error_of(lambda: BAD[case](ours)) == error_of(lambda: BAD[case](torchs))


def test_other_words_would_be_noticed():
    assert error_of(lambda: BAD["no steps"](ours)) != error_of(lambda: BAD["half a step"](torchs))


def row_of_two(m, milestones):
    optimizer = sgd()
    return m.SequentialLR(optimizer, [m.StepLR(optimizer, 3), m.StepLR(optimizer, 3)], milestones)


APART = {
    "too few milestones": lambda m: row_of_two(m, []),
    "too many milestones": lambda m: row_of_two(m, [3, 5]),
    "a row of another optimizer's": lambda m: m.SequentialLR(sgd(), [m.StepLR(sgd(), 3)], []),
    "a chain of another optimizer's": lambda m: m.ChainedScheduler([m.StepLR(sgd(), 3)], sgd()),
    "a chain of two optimizers'": lambda m: m.ChainedScheduler([m.StepLR(sgd(), 3), m.StepLR(sgd(), 3)]),
}


@pytest.mark.parametrize("case", APART)
def test_rows_and_chains_refuse_what_does_not_belong_together(case):
    kind, text = error_of(lambda: APART[case](ours))
    assert (kind, text) == error_of(lambda: APART[case](torchs))
    assert kind is ValueError


@pytest.mark.parametrize("module", [ours, torchs])
def test_one_cycle_has_an_end(module):
    optimizer = sgd()
    scheduler = module.OneCycleLR(optimizer, 0.1, 5)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    text = "Tried to step 6 times. The specified number of total steps is 5"
    assert error_of(scheduler.step) == (ValueError, text)


# Our own words begin with what they are about.
OWN_NAMES = ("step_decay", "multistep", "exponential", "polynomial", "ReduceLROnPlateau")
# Refused here and taken by torch, which then multiplies by something that nobody can have meant, fails at a later step,
# or says less.
STRICTER = {
    "a step size of zero": (lambda m: m.StepLR(sgd(), 0), ValueError, "step_size must be > 0, got 0"),
    "a negative factor": (lambda m: m.StepLR(sgd(), 2, -1.0), ValueError, "gamma must be >= 0, got -1.0"),
    "a negative milestone": (lambda m: m.MultiStepLR(sgd(), [-3]), ValueError, "milestones must be .* got -3"),
    "a milestone that is text": (lambda m: m.MultiStepLR(sgd(), ["3"]), TypeError, "milestones must be a number"),
    "a decay by zero": (lambda m: m.ExponentialLR(sgd(), 0.0), ValueError, "gamma must be > 0, got 0.0"),
    "a power of zero": (lambda m: m.PolynomialLR(sgd(), 5, 0.0), ValueError, "power must be > 0, got 0.0"),
    "a negative length": (lambda m: m.PolynomialLR(sgd(), -5), ValueError, "steps must be .* got -5"),
    "a plateau without an optimizer": (lambda m: m.ReduceLROnPlateau("sgd"), TypeError, "str is not an Optimizer"),
    "a minimum for one of two groups": (lambda m: m.ReduceLROnPlateau(sgd(), min_lr=[0.1]), ValueError, "2 groups"),
    "a factor of one": (lambda m: m.ReduceLROnPlateau(sgd(), factor=1.0), ValueError, "factor must be > 0 and < 1"),
    "a factor of zero": (lambda m: m.ReduceLROnPlateau(sgd(), factor=0.0), ValueError, "factor must be > 0 and < 1"),
    "an unknown mode": (lambda m: m.ReduceLROnPlateau(sgd(), "least"), ValueError, "mode must be one of 'min', 'max'"),
    "an unknown threshold": (
        lambda m: m.ReduceLROnPlateau(sgd(), threshold_mode="no"),
        ValueError,
        "threshold_mode must be one of 'rel', 'abs'",
    ),
    "a negative patience": (
        lambda m: m.ReduceLROnPlateau(sgd(), patience=-1),
        ValueError,
        "patience must be a whole number >= 0",
    ),
}


@pytest.mark.parametrize("case", STRICTER)
def test_what_is_refused_in_words_of_our_own(case):
    call, kind, text = STRICTER[case]
    with pytest.raises(kind, match=text) as caught:
        call(ours)
    assert str(caught.value).split(":")[0] in OWN_NAMES


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda m, o: m.ConstantLR(o, 0.5, 0), 0.1),
        (lambda m, o: m.LinearLR(o, 0.5, total_iters=0), 0.1),
        (lambda m, o: m.PolynomialLR(o, 0), 0.0),
    ],
)
def test_a_length_of_zero_is_at_its_end_at_once_where_torch_never_leaves_the_start(make, expected):
    optimizer, other = sgd(), sgd()
    scheduler, theirs = make(ours, optimizer), make(torchs, other)
    for _ in range(3):
        assert scheduler.get_last_lr()[0] == expected
        optimizer.step()
        scheduler.step()
        other.step()
        theirs.step()
    assert theirs.get_last_lr()[0] != expected


def test_a_constant_factor_of_zero_ends_where_torch_divides_by_it():
    optimizer = sgd()
    scheduler = ours.ConstantLR(optimizer, 0.0, 2)
    values = [scheduler.get_last_lr()[0]]
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        values.append(scheduler.get_last_lr()[0])
    assert values == [0.0, 0.0, 0.1, 0.1]
    theirs = torchs.ConstantLR(optimizer, 0.0, 1)
    with pytest.raises(ZeroDivisionError):
        theirs.step()


def test_one_cycle_that_rises_in_one_step_begins_at_the_top_where_torch_divides_by_zero():
    for rises in (0.1, 1.0):
        optimizer = sgd()
        scheduler = ours.OneCycleLR(optimizer, 0.1, 10, pct_start=rises)
        values = [scheduler.get_last_lr()[0]]
        for _ in range(10):
            optimizer.step()
            scheduler.step()
            values.append(scheduler.get_last_lr()[0])
        assert max(values) == values[0 if rises == 0.1 else 9] == 0.1
    with pytest.raises(ZeroDivisionError):
        torchs.OneCycleLR(sgd(), 0.1, 10, pct_start=0.1)


@pytest.mark.parametrize("optimizer", [torchopt_notes.Adagrad, torchopt_notes.SparseAdam])
def test_our_optimizers_are_asked_for_momentum_like_torchs(optimizer):
    def call(module, kind):
        return lambda: module.CyclicLR(kind([parameter()], lr=0.1), 0.1, 1.0)

    name = optimizer.__name__
    if "betas" in optimizer([parameter()], lr=0.1).defaults:
        assert call(ours, optimizer)().use_beta1
        return
    assert error_of(call(ours, optimizer)) == error_of(call(torchs, getattr(torch.optim, name)))
