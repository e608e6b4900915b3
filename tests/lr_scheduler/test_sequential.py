"""Rows and chains of schedulers of every kind: ours, torch's, a user's, and rows and chains again."""

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import OPTIMIZERS, Falling, InverseSquareRoot, OwnStep, advance, driven
from .comparing import far

STEPS = 60
MODULES = (ours, torchs)


def trajectory(make, *modules):
    optimizer = OPTIMIZERS["torch SGD"]()
    schedulers = make(*modules, optimizer)
    values = [driven(optimizer)]
    for step in range(STEPS):
        advance(optimizer, schedulers, step)
        values.append(driven(optimizer))
    return values


CHILDREN = {
    "StepLR": lambda m, o: m.StepLR(o, 5, 0.5),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [2, 7]),
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.2, 6),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.1, 0.9, 8),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 9, 1.5),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 7, 0.01),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2),
    "LambdaLR": lambda m, o: m.LambdaLR(o, Falling(0.2)),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, lambda epoch: 0.97 + epoch / 1000),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 4),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.2, 90),
    "a user's": lambda m, o: InverseSquareRoot(o),
    "a user's with a step": lambda m, o: OwnStep(o),
}


@pytest.mark.parametrize("second", CHILDREN)
@pytest.mark.parametrize("first", CHILDREN)
def test_any_two_follow_each_other_as_with_torch(first, second):
    def make(of_row, of_first, of_second, optimizer):
        children = [CHILDREN[first](of_first, optimizer), CHILDREN[second](of_second, optimizer)]
        return [of_row.SequentialLR(optimizer, children, [13])]

    expected = trajectory(make, torchs, torchs, torchs)
    assert far(trajectory(make, ours, ours, ours), expected) is None
    assert far(trajectory(make, ours, torchs, ours), expected) is None
    assert far(trajectory(make, ours, ours, torchs), expected) is None
    assert far(trajectory(make, torchs, ours, ours), expected) is None


def test_a_milestone_one_step_late_would_be_noticed():
    def make(module, milestone, optimizer):
        children = [CHILDREN["ConstantLR"](module, optimizer), CHILDREN["StepLR"](module, optimizer)]
        return [module.SequentialLR(optimizer, children, [milestone])]

    assert far(trajectory(make, ours, 14), trajectory(make, torchs, 13)).startswith("[18]")


@pytest.mark.parametrize("milestones", [[0, 5], [5, 5], [0, 0], [1, 2], [40, 50], [5, 900]])
def test_milestones_at_zero_at_once_and_after_the_end(milestones):
    def make(module, optimizer):
        children = [CHILDREN[name](module, optimizer) for name in ("LinearLR", "ExponentialLR", "CosineAnnealingLR")]
        return [module.SequentialLR(optimizer, children, milestones)]

    assert far(trajectory(make, ours), trajectory(make, torchs)) is None


def constant(module, optimizer, factor):
    return module.ConstantLR(optimizer, factor, 10**6)


def exponential(module, optimizer):
    return module.ExponentialLR(optimizer, 0.5)


def row_first(m, o):
    row = m.SequentialLR(o, [constant(m, o, 0.1), exponential(m, o)], [3])
    return [m.SequentialLR(o, [row, constant(m, o, 0.7)], [6])]


def row_last(m, o):
    row = m.SequentialLR(o, [constant(m, o, 0.1), exponential(m, o)], [3])
    return [m.SequentialLR(o, [constant(m, o, 0.7), row], [4])]


def row_in_row_in_row(m, o):
    row = m.SequentialLR(o, [exponential(m, o), constant(m, o, 0.3)], [2])
    row = m.SequentialLR(o, [row, constant(m, o, 0.6)], [4])
    return [m.SequentialLR(o, [row, constant(m, o, 0.9)], [6])]


def chain_first(m, o):
    chain = m.ChainedScheduler([constant(m, o, 0.1), exponential(m, o)])
    return [m.SequentialLR(o, [chain, constant(m, o, 0.7)], [4])]


def chain_last(m, o):
    chain = m.ChainedScheduler([constant(m, o, 0.1), exponential(m, o)])
    return [m.SequentialLR(o, [constant(m, o, 0.7), chain], [4])]


def row_in_chain(m, o):
    row = m.SequentialLR(o, [constant(m, o, 0.1), constant(m, o, 0.4)], [3])
    return [m.ChainedScheduler([row])]


# The multiples of the base value at epochs 0 to 7.
EXPECTED = {
    row_first: [0.1, 0.1, 0.1, 1.0, 0.5, 0.25, 0.7, 0.7],
    row_last: [0.7, 0.7, 0.7, 0.7, 0.1, 0.1, 0.1, 1.0],
    row_in_row_in_row: [1.0, 0.5, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9],
    chain_first: [0.1, 0.05, 0.025, 0.0125, 0.7, 0.7, 0.7, 0.7],
    chain_last: [0.7, 0.7, 0.7, 0.7, 0.1, 0.05, 0.025, 0.0125],
    row_in_chain: [0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4, 0.4],
}
NESTED = {make.__name__: make for make in EXPECTED}


class Outside:
    """A module whose rows and chains are ours if they have no other in them, and torch's otherwise; or the reverse."""

    def __init__(self, inner, outer):
        self.modules = {True: outer, False: inner}

    def __getattr__(self, name):
        if name not in ("SequentialLR", "ChainedScheduler"):
            return getattr(ours, name)

        def make(*arguments):
            children = next(one for one in arguments if isinstance(one, list))
            has_others = any(hasattr(child, "_schedulers") for child in children)
            return getattr(self.modules[has_others], name)(*arguments)

        return make


def multiples(make, *modules):
    return [values[0] / 0.1 for values in trajectory(make, *modules)[:8]]


@pytest.mark.parametrize("make", EXPECTED)
def test_rows_and_chains_may_be_in_one_another(make):
    assert multiples(make, ours) == pytest.approx(EXPECTED[make], rel=1e-12)


@pytest.mark.filterwarnings("ignore:Detected call:UserWarning")
@pytest.mark.parametrize("make", [row_first, row_last, chain_first, chain_last])
def test_also_those_of_torch_in_ours(make):
    assert multiples(make, Outside(inner=torchs, outer=ours)) == pytest.approx(EXPECTED[make], rel=1e-12)


@pytest.mark.parametrize("make", [row_first, chain_first])
def test_and_ours_in_those_of_torch(make):
    assert multiples(make, Outside(inner=ours, outer=torchs)) == pytest.approx(EXPECTED[make], rel=1e-12)


@pytest.mark.filterwarnings("ignore:Detected call:UserWarning")
def test_torch_is_a_step_ahead_with_a_row_or_a_chain_in_front_and_has_none_later():
    assert multiples(row_first, torchs) == pytest.approx([0.1, 0.1, 1.0, 0.5, 0.25, 0.125, 0.7, 0.7])
    assert multiples(chain_first, torchs) == pytest.approx([0.05, 0.025, 0.0125, 0.00625, 0.7, 0.7, 0.7, 0.7])
    for make in (row_last, chain_last):
        with pytest.raises(NotImplementedError):
            multiples(make, torchs)


def test_a_chain_of_torchs_schedulers_begins_with_all_their_factors():
    def make(optimizer):
        chain = ours.ChainedScheduler([constant(torchs, optimizer, 0.1), exponential(torchs, optimizer)])
        return [ours.SequentialLR(optimizer, [constant(ours, optimizer, 0.7), chain], [4])]

    assert multiples(make) == pytest.approx(EXPECTED[chain_last], rel=1e-12)


def test_going_anywhere_leaves_the_base_values():
    optimizer = OPTIMIZERS["torch SGD"]()
    first, *chained = constant(ours, optimizer, 0.7), constant(ours, optimizer, 0.1), exponential(torchs, optimizer)
    row = ours.SequentialLR(optimizer, [first, ours.ChainedScheduler(chained)], [4])
    for epoch in (5, 1, 9):
        row.go_to(epoch)
        assert [scheduler.base_lrs for scheduler in (first, *chained)] == [[0.1, 0.037]] * 3


@pytest.mark.parametrize("last_epoch", range(-1, 7))
@pytest.mark.parametrize("make", [row_first, row_last, row_in_row_in_row, chain_first, chain_last])
def test_rows_of_rows_go_to_any_epoch_at_once(make, last_epoch):
    optimizer = OPTIMIZERS["torch SGD"]()
    (scheduler,) = make(ours, optimizer)
    scheduler.go_to(last_epoch + 1)
    for step, expected in enumerate(EXPECTED[make][last_epoch + 1 :]):
        assert driven(optimizer)[0] / 0.1 == pytest.approx(expected, rel=1e-12)
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        advance(optimizer, [scheduler], step)


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("make", EXPECTED)
def test_rows_of_rows_are_resumed(make, at):
    optimizer, other = OPTIMIZERS["torch SGD"](), OPTIMIZERS["torch SGD"]()
    schedulers, others = make(ours, optimizer), make(ours, other)
    for step in range(at):
        advance(optimizer, schedulers, step)
    others[0].load_state_dict(schedulers[0].state_dict())
    for step in range(at, 12):
        assert driven(other) == driven(optimizer)
        advance(optimizer, schedulers, step)
        advance(other, others, step)


@pytest.mark.parametrize("row", [True, False], ids=["SequentialLR", "ChainedScheduler"])
@pytest.mark.parametrize("plateau", MODULES, ids=["ours", "torchs"])
def test_a_plateau_is_refused_as_by_torch(plateau, row):
    texts = []
    for module in MODULES:
        optimizer = OPTIMIZERS["torch SGD"]()
        children = [module.StepLR(optimizer, 3), plateau.ReduceLROnPlateau(optimizer)]
        with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`") as caught:
            module.SequentialLR(optimizer, children, [4]) if row else module.ChainedScheduler(children)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
