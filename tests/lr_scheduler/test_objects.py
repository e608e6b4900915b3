"""Schedulers as objects: they die when nobody holds them, and are copied and pickled where torch's are."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours
from torchopt_notes.schedules import linear

from .cases import CASES, OPTIMIZERS, Falling, advance, advance_schedulers, driven
from .comparing import far

WITH_LAMBDAS = (
    "LambdaLR",
    "LambdaLR of two",
    "MultiplicativeLR",
    "MultiplicativeLR of two",
    "CyclicLR scaled by cycle",
)


@pytest.fixture
def _no_collector():
    # What torch imports at the first step of all keeps that optimizer for a while.
    OPTIMIZERS["torch SGD"]().step()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("optimizer_name", ["torch SGD", "our SGD"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_keeps_a_scheduler_or_its_optimizer_alive(case, optimizer_name):
    optimizer = OPTIMIZERS[optimizer_name]()
    schedulers = CASES[case](ours, optimizer)
    for step in range(35):
        advance(optimizer, schedulers, step)
    of_schedulers, of_optimizer = list(map(weakref.ref, schedulers)), weakref.ref(optimizer)
    for scheduler in schedulers:
        scheduler.load_state_dict(scheduler.state_dict())
    del schedulers, scheduler
    assert [one() for one in of_schedulers] == [None] * len(of_schedulers)
    assert of_optimizer() is optimizer
    del optimizer
    assert of_optimizer() is None


@pytest.mark.usefixtures("_no_collector")
def test_a_cycle_of_references_would_be_noticed():
    (scheduler,) = CASES["StepLR"](ours, OPTIMIZERS["torch SGD"]())
    scheduler.itself = scheduler
    of_scheduler = weakref.ref(scheduler)
    del scheduler
    assert of_scheduler() is not None


def gone_on(schedulers, step):
    values = []
    for later in range(step, step + 40):
        advance_schedulers(schedulers, later)
        values.append(driven(schedulers[0].optimizer))
    return values


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_deep_copy_goes_on_by_itself_as_with_torch(case):
    found = []
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        schedulers = CASES[case](module, optimizer)
        for step in range(15):
            advance(optimizer, schedulers, step)
        before = driven(optimizer)
        copies = copy.deepcopy(schedulers)
        assert copies[0].optimizer is not optimizer
        found.append(gone_on(copies, 15))
        assert driven(optimizer) == before
        assert gone_on(schedulers, 15) == found[-1]
    assert far(*found) is None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_pickle_goes_on_where_torchs_does(case):
    optimizer = OPTIMIZERS["torch SGD"]()
    schedulers = CASES[case](ours, optimizer)
    for step in range(15):
        advance(optimizer, schedulers, step)
    if case in WITH_LAMBDAS:
        for one in (schedulers, CASES[case](torchs, OPTIMIZERS["torch SGD"]())):
            with pytest.raises((pickle.PicklingError, AttributeError)):
                pickle.dumps(one)
        return
    pickle.dumps(CASES[case](torchs, OPTIMIZERS["torch SGD"]()))
    other = pickle.loads(pickle.dumps(schedulers))
    assert gone_on(other, 15) == gone_on(schedulers, 15)


@pytest.mark.parametrize("case", CASES)
def test_what_looks_for_schedulers_of_torch_finds_ours(case):
    schedulers = CASES[case](ours, OPTIMIZERS["our AdamW"]())
    for scheduler in schedulers:
        assert isinstance(scheduler, torchs.LRScheduler)
        assert isinstance(scheduler, getattr(torchs, type(scheduler).__name__))
        assert type(scheduler).__module__.startswith("torchopt_notes.lr_scheduler")
        # What a plateau's step is called with is how Lightning and Accelerate tell it from others.
        assert isinstance(scheduler, torchs.ReduceLROnPlateau) == (type(scheduler).__name__ == "ReduceLROnPlateau")


@pytest.mark.parametrize("module", [ours, torchs])
@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_functions_with_a_state_come_back_with_it_and_others_are_left_out(module, name):
    optimizer = OPTIMIZERS["torch SGD"]()
    scheduler = getattr(module, name)(optimizer, [Falling(0.5), lambda epoch: 0.5])
    assert scheduler.state_dict()["lr_lambdas"] == [{"rate": 0.5}, None]
    other = getattr(module, name)(OPTIMIZERS["torch SGD"](), [Falling(0.1), lambda epoch: 0.5])
    other.load_state_dict(scheduler.state_dict())
    assert other.lr_lambdas[0].rate == 0.5


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_a_schedule_will_do_for_a_function_and_is_left_out_of_the_state(name):
    optimizer = OPTIMIZERS["torch SGD"]()
    schedule = linear(10, start=1, end=0.5)
    scheduler = getattr(ours, name)(optimizer, schedule)
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [None, None]
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == state
    other = getattr(ours, name)(OPTIMIZERS["torch SGD"](), schedule)
    other.load_state_dict(state)
    assert other.lr_lambdas == [schedule, schedule]


def test_a_subclass_of_ours_that_computes_its_own_values_is_asked():
    class Halved(ours.CosineAnnealingWarmRestarts):
        def get_lr(self):
            return [lr / 2 for lr in super().get_lr()]

    optimizer = OPTIMIZERS["torch SGD"]()
    scheduler = Halved(optimizer, 10)
    assert driven(optimizer)[0] == 0.05
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr()[0] == driven(optimizer)[0] < 0.05
