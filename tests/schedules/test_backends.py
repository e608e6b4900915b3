"""Schedules on every backend: the numbers arrive, nothing is compiled again, and nothing waits for a device."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from tests.backends import BACKENDS, MISSING, backend
from tests.gradients.common_amp import HostReadError, host_blindfolded
from torchopt_notes import SGD, AdamW, Lion, lr_scheduler
from torchopt_notes import schedules as S
from torchopt_notes.engine.compiler import compiled_update

DRIVEN = {
    AdamW: {"lr": S.warmup(3) >> S.cosine(5), "weight_decay": S.linear(4), "betas[0]": S.linear(8, 1, 0.5)},
    SGD: {"lr": S.step_decay(2), "weight_decay": S.linear(4), "momentum": S.linear(8, 1, 0.5)},
    Lion: {"lr": S.one_cycle(8), "weight_decay": S.linear(4), "betas[1]": S.linear(8, 1, 0.5)},
}
BASE = {
    AdamW: {"lr": 0.1, "weight_decay": 0.1, "betas": (0.9, 0.99)},
    SGD: {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9},
    Lion: {"lr": 0.1, "weight_decay": 0.1, "betas": (0.9, 0.99)},
}


def start(optimizer_class, which, **options):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(size)) for size in (40, (3, 50))]
    return params, optimizer_class(params, backend=which, **(BASE[optimizer_class] | options))


def step(params, optimizer, number):
    for index, param in enumerate(params):
        generator = torch.Generator().manual_seed(100 * number + index)
        param.grad = torch.randn(param.shape, generator=generator)
    optimizer.step()


def by_hand(optimizer, number):
    """What the schedules of ``DRIVEN`` make of the base values at a step."""
    base = BASE[type(optimizer)]
    for name, schedule in DRIVEN[type(optimizer)].items():
        if name.startswith("betas"):
            place = int(name[-2])
            betas = list(optimizer.param_groups[0]["betas"])
            betas[place] = base["betas"][place] * schedule(number)
            optimizer.param_groups[0]["betas"] = tuple(betas)
        else:
            optimizer.param_groups[0][name] = base[name] * schedule(number)


@pytest.mark.parametrize("which", BACKENDS)
@pytest.mark.parametrize("optimizer_class", list(DRIVEN))
def test_a_scheduled_run_is_one_with_the_values_set_by_hand(optimizer_class, which):
    params, optimizer = start(optimizer_class, which)
    expected, reference = start(optimizer_class, which)
    unscheduled, control = start(optimizer_class, which)
    scheduler = S.Scheduler(optimizer, DRIVEN[optimizer_class])
    for number in range(8):
        by_hand(reference, number)
        step(params, optimizer, number)
        step(expected, reference, number)
        step(unscheduled, control, number)
        scheduler.step()
    for ours, theirs, other in zip(params, expected, unscheduled, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
        assert not torch.allclose(ours, other, rtol=1e-3)


@pytest.mark.parametrize("which", BACKENDS)
def test_a_decay_that_has_come_to_zero_changes_nothing_more(which):
    params, optimizer = start(SGD, which, lr=0.0, decoupled_weight_decay=False)
    scheduler = S.Scheduler(optimizer, weight_decay=S.linear(2))
    for number in range(2):
        step(params, optimizer, number)
        scheduler.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0
    expected, plain = start(SGD, which, weight_decay=0.0)
    plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    plain.param_groups[0].pop("initial_weight_decay")
    for group in (*optimizer.param_groups, *plain.param_groups):
        group["lr"] = 0.1
    step(params, optimizer, 2)
    step(expected, plain, 2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(params, expected, strict=True))


@pytest.mark.parametrize("which", BACKENDS)
def test_nothing_reads_a_tensor_on_the_host(which):
    params, optimizer = start(AdamW, which, lr=torch.tensor(0.1), capturable=True)
    scheduler = S.Scheduler(optimizer, lr=S.warmup(3) >> S.cosine(5), weight_decay=S.linear(4))
    others = [
        lr_scheduler.CosineAnnealingLR(optimizer, 10),
        lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, 0.9)], optimizer=optimizer),
    ]
    step(params, optimizer, 0)
    step(params, optimizer, 1)
    with host_blindfolded():
        for one in (scheduler, *others):
            one.step()
        with pytest.raises(HostReadError):
            float(optimizer.param_groups[0]["lr"])


@pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))
@pytest.mark.parametrize("optimizer_class", list(DRIVEN))
def test_nothing_is_compiled_again(optimizer_class):
    torch._dynamo.reset()
    compiled_update.cache_clear()
    counters.clear()
    params, optimizer = start(optimizer_class, "compiled")
    scheduler = S.Scheduler(optimizer, DRIVEN[optimizer_class])
    step(params, optimizer, 0)
    first = counters["stats"]["unique_graphs"]
    assert first
    for number in range(1, 8):
        scheduler.step()
        step(params, optimizer, number)
    assert optimizer.param_groups[0]["weight_decay"] == 0
    assert counters["stats"]["unique_graphs"] == first
    optimizer.param_groups[0]["maximize"] = True
    step(params, optimizer, 8)
    assert counters["stats"]["unique_graphs"] > first


@pytest.mark.parametrize("which", [backend("eager")])
def test_torchs_own_loop_with_a_schedule_in_a_lambda(which):
    params, optimizer = start(AdamW, which)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, S.warmup(4) >> S.cosine(4))
    for number in range(8):
        step(params, optimizer, number)
        scheduler.step()
    assert scheduler.get_last_lr() == [0.0]
    state = scheduler.state_dict()
    torch.optim.lr_scheduler.LambdaLR(optimizer, S.warmup(4) >> S.cosine(4)).load_state_dict(state)
