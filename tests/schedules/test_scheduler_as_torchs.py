"""``Scheduler`` is what torch's users expect of one: base values, warnings, references, and who works with it."""

import copy
import gc
import pickle
import warnings
import weakref

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from torchopt_notes import lr_scheduler
from torchopt_notes import schedules as S

from .common import KINDS, make, numbers, parameters, sgd, train, trajectory

SCHEDULE = S.warmup(5) >> S.cosine(20, end=0.1)


def test_it_is_one_of_torchs():
    scheduler = S.Scheduler(sgd(), momentum=S.linear(4))
    assert isinstance(scheduler, torchs.LRScheduler)
    assert isinstance(S.ReduceOnPlateau(sgd()), torchs.ReduceLROnPlateau)
    assert scheduler.get_last_lr() == [0.3]
    assert (scheduler.last_epoch, scheduler._step_count, scheduler.base_lrs) == (0, 1, [0.3])


def test_base_values_are_kept_in_the_groups_as_torch_keeps_them():
    ours, theirs = sgd(2), sgd(2)
    S.Scheduler(ours, lr=S.constant(0.5))
    torchs.ConstantLR(theirs, 0.5)
    assert numbers(ours) == numbers(theirs)
    S.Scheduler(ours, momentum=S.constant(0.5))
    assert ours.param_groups[1]["initial_momentum"] == 0.9


def test_a_base_value_that_is_there_is_taken():
    optimizer = sgd()
    optimizer.param_groups[0]["initial_lr"] = 2.0
    assert S.Scheduler(optimizer, lr=S.constant(0.5)).get_last_lr() == [1.0]


@pytest.mark.parametrize("last_epoch", [0, 6, 30])
def test_last_epoch_is_the_step_before_the_one_that_construction_sets(last_epoch):
    optimizer = sgd(2)
    S.Scheduler(optimizer, lr=SCHEDULE, momentum=S.linear(40)).seek(last_epoch)
    expected = S.Scheduler(sgd(2), lr=SCHEDULE, momentum=S.linear(40))
    expected.seek(last_epoch + 1)
    resumed = S.Scheduler(optimizer, lr=SCHEDULE, momentum=S.linear(40), last_epoch=last_epoch)
    assert numbers(resumed.optimizer) == numbers(expected.optimizer)
    assert resumed.last_epoch == last_epoch + 1
    theirs = sgd(2)
    theirs.load_state_dict(optimizer.state_dict())
    last = torchs.LambdaLR(theirs, SCHEDULE, last_epoch=last_epoch)
    assert (last.last_epoch, last.get_last_lr()) == (resumed.last_epoch, resumed.get_last_lr())


@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_resuming_needs_the_base_values(name):
    optimizer = sgd(2)
    before = numbers(optimizer)
    with pytest.raises(KeyError, match=rf"'initial_{name}' is not specified in param_groups\[0\] when resuming"):
        S.Scheduler(optimizer, {name: SCHEDULE}, last_epoch=3)
    assert numbers(optimizer) == before
    with pytest.raises(KeyError, match=r"'initial_lr' is not specified in param_groups\[0\] when resuming"):
        torchs.LambdaLR(optimizer, SCHEDULE, last_epoch=3)


def torchs_one(optimizer):
    return torchs.LambdaLR(optimizer, SCHEDULE)


def ours(optimizer):
    return S.Scheduler(optimizer, lr=SCHEDULE)


def in_order(optimizer, scheduler):
    optimizer.step()
    scheduler.step()
    scheduler.step()


def too_early(optimizer, scheduler):
    scheduler.step()
    optimizer.step()
    scheduler.step()


def replaced(optimizer, scheduler):
    optimizer.step = lambda closure=None: None
    optimizer.step()
    scheduler.step()


def deprecated(optimizer, scheduler):
    optimizer.step()
    scheduler.step(7)
    scheduler.step()
    assert scheduler.last_epoch == 8


@pytest.mark.parametrize(("use", "count"), [(in_order, 0), (too_early, 1), (replaced, 1), (deprecated, 1)])
def test_warnings_are_torchs(use, count):
    caught = []
    for make_scheduler in (torchs_one, ours):
        optimizer = sgd()
        scheduler = make_scheduler(optimizer)
        with warnings.catch_warnings(record=True) as some:
            warnings.simplefilter("always")
            use(optimizer, scheduler)
        caught.append(some)
        assert [one.filename for one in some] == [__file__] * count, "the line of whoever called step"
    theirs, of_ours = caught
    assert [one.category for one in of_ours] == [one.category for one in theirs]
    if use is not deprecated:
        # Filters that people have written match the beginning.
        assert [str(one.message)[:45] for one in of_ours] == [str(one.message)[:45] for one in theirs]
    else:
        assert "use Scheduler.seek(step)" in str(of_ours[0].message)


def test_a_step_to_a_given_epoch_goes_there():
    scheduler = S.Scheduler(sgd(), lr=SCHEDULE)
    scheduler.optimizer.step()
    with pytest.warns(UserWarning, match="deprecated"):
        scheduler.step(9)
    assert scheduler.get_last_lr() == [0.3 * SCHEDULE(9)]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_alive(kind):
    gc.collect()
    gc.disable()
    try:
        optimizer = make(kind)
        scheduler = S.Scheduler(optimizer, lr=SCHEDULE, weight_decay=S.linear(10))
        for _ in range(3):
            train(optimizer)
            scheduler.step()
        gone = weakref.ref(scheduler)
        del scheduler
        assert gone() is None
        plateau = S.ReduceOnPlateau(optimizer)
        plateau.step(1.0)
        gone = weakref.ref(plateau)
        del plateau
        assert gone() is None
        cycle = S.Scheduler(sgd(), lr=SCHEDULE)
        cycle.itself = cycle
        gone = weakref.ref(cycle)
        del cycle
        assert gone() is not None, "control: a cycle would be seen"
    finally:
        gc.enable()


def test_the_optimizer_dies_with_the_scheduler():
    gc.collect()
    gc.disable()
    try:
        scheduler = S.Scheduler(sgd(), lr=SCHEDULE)
        scheduler.optimizer.step()
        scheduler.step()
        gone = weakref.ref(scheduler.optimizer)
        del scheduler
        assert gone() is None
    finally:
        gc.enable()


def test_two_in_torchs_sequential():
    optimizer = sgd(momentum=0.5)
    first = S.Scheduler(optimizer, lr=S.warmup(5, 0.2), momentum=S.linear(10))
    second = S.Scheduler(optimizer, lr=S.cosine(10), momentum=S.linear(10, 0, 1))
    whole = torchs.SequentialLR(optimizer, [first, second], [5])
    lr = S.warmup(5, 0.2) >> S.cosine(10)
    momentum = S.linear(10).until(5) >> S.linear(10, 0, 1)
    for step in range(20):
        (group,) = optimizer.param_groups
        assert group["lr"] == 0.3 * lr(step)
        assert group["momentum"] == 0.5 * momentum(step)
        assert whole.get_last_lr() == [group["lr"]]
        optimizer.step()
        whole.step()


def test_before_and_after_one_of_torchs_in_its_sequential():
    def lrs(first, second):
        optimizer = sgd()
        return trajectory(torchs.SequentialLR(optimizer, [first(optimizer), second(optimizer)], [5]), 15)

    warm, cold = S.warmup(5, 0.2), S.exponential(0.8)
    theirs = lrs(lambda o: torchs.LinearLR(o, 0.2, 1, 5), lambda o: torchs.ExponentialLR(o, 0.8))
    for mixed in (
        lrs(lambda o: S.Scheduler(o, lr=warm), lambda o: S.Scheduler(o, lr=cold)),
        lrs(lambda o: S.Scheduler(o, lr=warm), lambda o: torchs.ExponentialLR(o, 0.8)),
        lrs(lambda o: torchs.LinearLR(o, 0.2, 1, 5), lambda o: S.Scheduler(o, lr=cold)),
    ):
        assert mixed == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("sequential", [torchs.SequentialLR, lr_scheduler.SequentialLR])
@pytest.mark.parametrize("optimizer_first", [False, True])
def test_a_sequential_goes_on_from_its_state(sequential, optimizer_first):
    def make_whole():
        optimizer = sgd()
        both = [S.Scheduler(optimizer, lr=S.warmup(5, 0.2)), S.Scheduler(optimizer, lr=S.cosine(10))]
        return sequential(optimizer, both, [5])

    expected = trajectory(make_whole(), 16)
    assert expected == [0.3 * (S.warmup(5, 0.2) >> S.cosine(10))(step) for step in range(17)]
    for step in range(15):
        before, after = make_whole(), make_whole()
        trajectory(before, step)
        loads = [(after.optimizer, before.optimizer), (after, before)]
        for one, other in loads if optimizer_first else reversed(loads):
            one.load_state_dict(other.state_dict())
        assert trajectory(after, 16 - step) == expected[step:]


def test_in_torchs_chained_each_drives_its_own():
    optimizer = sgd()
    both = [S.Scheduler(optimizer, lr=SCHEDULE), S.Scheduler(optimizer, momentum=S.linear(10))]
    chained = torchs.ChainedScheduler(both)
    for step in range(15):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["momentum"]) == (0.3 * SCHEDULE(step), 0.9 * S.linear(10)(step))
        assert chained.get_last_lr() == [group["lr"]]
        optimizer.step()
        chained.step()


def test_in_torchs_chained_the_last_one_of_a_hyperparameter_wins():
    optimizer = sgd()
    chained = torchs.ChainedScheduler([torchs.ExponentialLR(optimizer, 0.5), S.Scheduler(optimizer, lr=SCHEDULE)])
    assert trajectory(chained, 10) == [0.3 * SCHEDULE(step) for step in range(11)]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_scheduler_and_optimizer_goes_on_by_itself(kind, copied):
    optimizer = make(kind)
    scheduler = S.Scheduler(optimizer, lr=SCHEDULE, weight_decay=S.linear(9))
    for _ in range(4):
        train(optimizer)
        scheduler.step()
    other_optimizer, other = copied((optimizer, scheduler))
    assert other.optimizer is other_optimizer is not optimizer
    assert other.schedules == scheduler.schedules
    for one, scheduled in ((optimizer, scheduler), (other_optimizer, other)):
        assert scheduled.last_epoch == 4
        for _ in range(6):
            train(one)
            scheduled.step()
        assert numbers(one)[0]["lr"] == 0.3 * SCHEDULE(10)
        assert numbers(one)[0]["weight_decay"] == 0.2 * S.linear(9)(10)
    assert torch.equal(parameters(optimizer), parameters(other_optimizer))


def test_a_closure_reaches_the_optimizer():
    optimizer = sgd()
    scheduler = S.Scheduler(optimizer, lr=SCHEDULE)
    assert optimizer.step(lambda: torch.tensor(2.5)) == 2.5
    scheduler.step()
    assert scheduler.get_last_lr() == [0.3 * SCHEDULE(1)]
