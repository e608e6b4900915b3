"""A range test with several groups: who gets which learning rate."""

import itertools

import pytest
import torch
from torch import nn

import torchopt_notes as optim
from tests.schedules.range_testing import Weight, fingerprint
from torchopt_notes.groups import param_groups
from torchopt_notes.schedules import Scheduler, lr_range_test, warmup


def rates_seen(optimizer, model, *, key="lr", **options):
    seen = []
    handle = optimizer.register_step_pre_hook(
        lambda opt, *_: seen.append([float(group[key]) for group in opt.param_groups])
    )
    found = lr_range_test(
        model,
        nn.functional.mse_loss,
        [(torch.ones(4, 3), torch.zeros(4, 3))],
        optimizer,
        **{"steps": 4, "start": 1e-4, "end": 0.1} | options,
    )
    handle.remove()
    return found, seen


def three_layers():
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_groups_keep_their_ratio_to_the_largest(as_tensor):
    model = three_layers()
    rates = [0.25, 0.5, 0.125]
    groups = [
        {"params": list(layer.parameters()), "lr": torch.tensor(rate, dtype=torch.float64) if as_tensor else rate}
        for layer, rate in zip(model, rates, strict=True)
    ]
    tensors = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr * 0.5, lr, lr * 0.25] for lr in found.lrs]
    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert not as_tensor or all(a is group["lr"] for a, group in zip(tensors, optimizer.param_groups, strict=True))


def test_layerwise_rates():
    model = nn.Sequential(three_layers(), nn.Linear(3, 3))
    optimizer = optim.AdamW(param_groups(model, lr=0.3, layer_decay=0.5, layers="0"))
    found, seen = rates_seen(optimizer, model)
    for lr, rates in zip(found.lrs, seen, strict=True):
        groups = param_groups(model, lr=lr, layer_decay=0.5, layers="0")
        assert len({group["lr"] for group in groups}) == 4
        assert rates == pytest.approx([group["lr"] for group in groups])


def test_a_frozen_group_stays_frozen():
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[1].parameters()}])
    found, seen = rates_seen(optimizer, model)
    assert seen == [[0.0, lr] for lr in found.lrs]


@pytest.mark.parametrize("scheduler", [torch.optim.lr_scheduler.LambdaLR, Scheduler])
def test_ratios_are_those_of_the_base_values_during_a_warmup(scheduler):
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 1.0}], 0.25)
    multiplier = warmup(10)
    scheduler(optimizer, **({"lr": multiplier} if scheduler is Scheduler else {"lr_lambda": multiplier}))
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr * 0.25, lr] for lr in found.lrs]


def test_without_any_rate_groups_are_equal():
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in model], lr=0.0)
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr] * 3 for lr in found.lrs]


@pytest.mark.parametrize("as_tensor", [False, True])
def test_penalties_that_do_not_grow_with_the_rate_do_not_grow_here(as_tensor):
    def shrinking(**options):
        """By what the weights of a layer without gradients are multiplied in each step."""
        model = three_layers()
        lr = torch.tensor(1e-3) if as_tensor else 1e-3
        optimizer = optim.SGD(model.parameters(), lr, weight_decay=0.125, decoupled_weight_decay=True, **options)
        model[0].weight.register_hook(torch.zeros_like)
        norms = [model[0].weight.norm().item()]
        optimizer.register_step_post_hook(lambda *_: norms.append(model[0].weight.norm().item()))
        before = fingerprint(model, optimizer)
        rates_seen(optimizer, model, start=1.0, end=4.0, steps=3)
        assert fingerprint(model, optimizer) == before
        return [after / before for before, after in itertools.pairwise(norms)]

    assert shrinking(decouple_lr=True) == pytest.approx([0.875] * 3)
    assert shrinking() == pytest.approx([0.875, 0.75, 0.5])


def test_a_group_without_a_rate():
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(ValueError, match="lr_range_test: the optimizer's groups have no number 'lr' to drive"):
        lr_range_test(model, lambda w, _: w, [(0, 0)], optimizer)


# Batches
