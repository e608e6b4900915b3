"""The functions against torch's classes and pytorch_optimizer's, where they do the same."""

import math

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from torchopt_notes import schedules as S

BASE = 0.3
STEPS = 130


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=BASE)


def trajectory(scheduler, steps):
    (group,) = scheduler.optimizer.param_groups
    lrs = [group["lr"]]
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
        lrs.append(group["lr"])
    return lrs


def agree(values, expected):
    return all(
        math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15) for one, other in zip(values, expected, strict=True)
    )


TORCHS = [
    (lambda o: torchs.LambdaLR(o, S.rex(50)), S.rex(50)),
    (lambda o: torchs.MultiplicativeLR(o, lambda step: 0.95), S.exponential(0.95)),
    (lambda o: torchs.StepLR(o, 7, 0.5), S.step_decay(7, 0.5)),
    (lambda o: torchs.StepLR(o, 30), S.step_decay(30)),
    (lambda o: torchs.MultiStepLR(o, [30, 5, 12, 12], 0.5), S.multistep([30, 5, 12, 12], 0.5)),
    (lambda o: torchs.ConstantLR(o, 1 / 3, 5), S.constant(1 / 3, steps=5) >> S.constant()),
    (lambda o: torchs.LinearLR(o, 1 / 3, 1, 5), S.warmup(5, 1 / 3)),
    (lambda o: torchs.LinearLR(o, 1, 0.1, 50), S.linear(50, 1, 0.1)),
    (lambda o: torchs.ExponentialLR(o, 0.97), S.exponential(0.97)),
    (lambda o: torchs.PolynomialLR(o, 33, 2), S.polynomial(33, power=2)),
    (lambda o: torchs.CosineAnnealingLR(o, STEPS, 0.1 * BASE), S.cosine(STEPS, end=0.1)),
    (lambda o: torchs.CosineAnnealingWarmRestarts(o, 10), S.warm_restarts(10)),
    (lambda o: torchs.CosineAnnealingWarmRestarts(o, 7, 2, 0.1 * BASE), S.warm_restarts(7, 2, end=0.1)),
    (lambda o: torchs.CyclicLR(o, 0.1 * BASE, BASE, 10, cycle_momentum=False), S.cyclic(10)),
    (
        lambda o: torchs.CyclicLR(o, 0.2 * BASE, BASE, 9, 4, "triangular2", cycle_momentum=False),
        S.cyclic(9, 4, start=0.2, mode="triangular2"),
    ),
    (
        lambda o: torchs.CyclicLR(o, 0.1 * BASE, BASE, 8, 8, "exp_range", 0.99, cycle_momentum=False),
        S.cyclic(8, mode="exp_range", gamma=0.99),
    ),
    (lambda o: torchs.OneCycleLR(o, BASE, STEPS + 1, cycle_momentum=False), S.one_cycle(STEPS + 1)),
    (
        lambda o: torchs.OneCycleLR(o, BASE, STEPS + 1, pct_start=0.2, anneal_strategy="linear", cycle_momentum=False),
        S.one_cycle(STEPS + 1, 0.2, anneal_strategy="linear"),
    ),
    (
        lambda o: torchs.OneCycleLR(
            o, BASE, STEPS + 1, div_factor=10, final_div_factor=50, three_phase=True, cycle_momentum=False
        ),
        S.one_cycle(STEPS + 1, start=1 / 10, end=1 / 500, three_phase=True),
    ),
    (
        lambda o: torchs.SequentialLR(
            o, [torchs.LinearLR(o, 0.1, 1, 10), torchs.CosineAnnealingLR(o, STEPS - 10)], [10]
        ),
        S.warmup(10, 0.1) >> S.cosine(STEPS - 10),
    ),
    (
        lambda o: torchs.ChainedScheduler([torchs.LinearLR(o, 0.1, 1, 10), torchs.ExponentialLR(o, 0.97)]),
        S.warmup(10, 0.1) * S.exponential(0.97),
    ),
]


@pytest.mark.parametrize(("make", "schedule"), TORCHS, ids=lambda one: repr(one) if isinstance(one, S.Schedule) else "")
def test_torchs_classes(make, schedule):
    expected = trajectory(make(optimizer()), STEPS)
    ours = trajectory(S.Scheduler(optimizer(), lr=schedule), STEPS)
    assert agree(ours, expected)
    later = trajectory(S.Scheduler(optimizer(), lr=S.constant(steps=1) >> schedule), STEPS)
    assert not agree(later, expected), "control: one step later is noticed"


def test_torchs_classes_are_all_here():
    names = {name for make, _ in TORCHS for name in make.__code__.co_names}
    assert set(torchs.__all__) - names == {"LRScheduler", "ReduceLROnPlateau"}


@pytest.fixture
def theirs():
    return pytest.importorskip("pytorch_optimizer")


@pytest.mark.parametrize(("total", "low"), [(50, 0.0), (37, 0.1)])
def test_rex(theirs, total, low):
    scheduler = theirs.REXScheduler(optimizer(), total, max_lr=1.0, min_lr=low)
    # The constructor has made the first step.
    expected = [scheduler.step() for _ in range(1, total + 10)]
    assert agree(S.rex(total, end=low)(range(1, total + 10)), expected)
    assert not agree(S.rex(total + 1, end=low)(range(1, total + 10)), expected)


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
def test_wsd(theirs, decay):
    scheduler = theirs.get_wsd_schedule(optimizer(), 10, 30, 20, cooldown_type=decay)
    expected = trajectory(scheduler, 70)
    assert agree(trajectory(S.Scheduler(optimizer(), lr=S.wsd(60, 10, 20, decay=decay)), 70), expected)
    assert not agree(trajectory(S.Scheduler(optimizer(), lr=S.wsd(60, 10, 21, decay=decay)), 70), expected)


def test_wsd_down_to_more_than_nothing(theirs):
    scheduler = theirs.get_wsd_schedule(optimizer(), 10, 30, 20, min_lr_ratio=0.1, cooldown_type="cosine")
    schedule = S.wsd(60, 10, 20, end=0.1, decay="cosine")
    assert agree(trajectory(S.Scheduler(optimizer(), lr=schedule), 70), trajectory(scheduler, 70))


@pytest.mark.parametrize(("name", "function"), [("LinearScheduler", S.linear), ("CosineScheduler", S.cosine)])
def test_warm_up_and_then_down(theirs, name, function):
    scheduler = getattr(theirs, name)(optimizer(), t_max=60, max_lr=1.0, min_lr=0.1, init_lr=0.2, warmup_steps=10)
    expected = [scheduler.step() for _ in range(60)]
    assert agree((S.warmup(10, 0.2) >> function(50, end=0.1))(range(60)), expected)
    assert not agree((S.warmup(10, 0.2) >> function(51, end=0.1))(range(60)), expected)


def test_warm_restarts(theirs):
    make = theirs.CosineAnnealingWarmupRestarts
    scheduler = make(optimizer(), first_cycle_steps=8, cycle_mult=2, max_lr=1.0, min_lr=0.1, gamma=1.0)
    # The constructor sets min_lr after it has made the first step.
    expected = trajectory(scheduler, 100)[1:]
    assert agree(S.warm_restarts(8, 2, end=0.1)(range(1, 101)), expected)
    assert not agree(S.warm_restarts(8, 2, end=0.1)(range(100)), expected)
