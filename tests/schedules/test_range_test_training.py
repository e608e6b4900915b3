"""Training after a range test is training without one."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

import torchopt_notes as optim
from tests.schedules.range_testing import DATA, DEVICES, NAMES, TRACES, Weight, frozen, range_test, train, training
from torchopt_notes.schedules import lr_range_test


def outcome(name, meanwhile, device="cpu"):
    """What three more steps lead to, with something done between."""
    model, optimizer = training(name, device=device)
    meanwhile(model, optimizer)
    losses = train(model, optimizer, 4)
    tensors = [*model.parameters(), *model.buffers(), torch.get_rng_state()]
    for group in optimizer.param_groups:
        for param in group["params"]:
            tensors += [param, *optimizer.state[param].values()]
    return losses, [frozen(one)[2:5] for one in tensors if isinstance(one, Tensor)]


def nothing(model, optimizer):
    pass


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_with_the_same_bits(name, device):
    undisturbed = outcome(name, nothing, device)
    assert outcome(name, lambda *both: range_test(*both), device) == undisturbed
    assert outcome(name, lambda *both: range_test(*both, stop_at=1.01, smoothing=0.0), device) == undisturbed


CHANGES = {
    **{name: TRACES[name] for name in ("parameter", "running mean", "torch's randomness", "less state", "mode")},
    "rate": lambda model, opt: opt.param_groups[0].update(lr=0.011),
    "momentum": lambda model, opt: next(iter(opt.state[model.body[0].weight].values())).add_(0.01),
    "buffer": lambda model, opt: model.assigned.add_(1),
}


@pytest.mark.parametrize("name", ["torch-sgd", "torch-adamw", "adamw-eager", "adamw-compiled"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_would_change_the_bits(name, change):
    assert outcome(name, torch.no_grad()(CHANGES[change])) != outcome(name, nothing)


LOADERS = {
    "shuffle": lambda _: {"shuffle": True},
    "shuffle by a generator": lambda generator: {"shuffle": True, "generator": generator},
    "sampler": lambda generator: {"sampler": RandomSampler(DATA, generator=generator)},
    "batch sampler": lambda generator: {
        "batch_size": 1,
        "batch_sampler": BatchSampler(RandomSampler(DATA, generator=generator), 5, drop_last=False),
    },
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_hands_out_the_same_order_afterwards(kind):
    def order(meanwhile):
        model, optimizer = training("torch-sgd")
        loader = DataLoader(DATA, **{"batch_size": 5} | LOADERS[kind](torch.Generator().manual_seed(1)))
        first = [y.tolist() for _, y in loader]
        meanwhile(model, optimizer, loader)
        return first, [y.tolist() for _, y in loader]

    assert order(range_test) == order(lambda *_: None)
    assert order(lambda model, optimizer, loader: next(iter(loader))) != order(lambda *_: None)


def test_schedulers_do_not_notice():
    for with_test in (False, True):
        model, optimizer = training("torch-sgd", before=0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        if with_test:
            range_test(model, optimizer)
        assert not getattr(optimizer, "_opt_called", False)
        with pytest.warns(UserWarning, match=r"lr_scheduler\.step\(\)` before"):
            scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.05


def test_a_skipped_first_step_still_counts_as_none():
    def after(meanwhile):
        torch.manual_seed(0)
        model = Weight([1.0] * 4)
        w = model.w
        optimizer = optim.SGD(
            [w], 0.1, momentum=0.9, dampening=0.5, capturable=True, skip_nonfinite=True, backend="eager"
        )
        w.grad = torch.full_like(w, math.nan)
        optimizer.step()
        meanwhile(model, optimizer)
        skipped = optimizer.skipped_steps.item()
        for _ in range(2):
            w.grad = torch.ones_like(w)
            optimizer.step()
        return w.tolist(), skipped

    def test(model, optimizer):
        lr_range_test(model, lambda y, _: y.square().sum(), [(0, 0)], optimizer, steps=4)

    def step(model, optimizer):
        model.w.grad = torch.zeros_like(model.w)
        optimizer.step()

    assert after(test) == after(nothing)
    assert after(step) != after(nothing)


def test_it_trains_where_gradients_are_off():
    model, optimizer = training("torch-sgd")
    with torch.no_grad():
        without = range_test(model, optimizer)
    assert without == range_test(model, optimizer)


def test_copies_and_originals_see_the_same():
    model, optimizer = training("torch-adamw")
    assert range_test(model, optimizer) == range_test(model, optimizer)
    other = copy.deepcopy(model)
    trained = torch.optim.AdamW(other.body.parameters(), lr=0.01)
    assert range_test(other, trained) != range_test(model, optimizer)  # a control: without the optimizer's state


# Bad input
