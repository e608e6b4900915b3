"""Penalties over many steps: a decay that does not depend on the size of lr, and weights that L1 makes zero."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from tests.backends import BACKENDS, HERE
from tests.gradients.references import fill, make, soft_threshold, wide
from torchopt_notes import LAMB, SGD, Adam, AdamW

ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
DECAY = 0.1
SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "warm-up": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=4),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: step / 4),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.4, total_steps=8),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, base_lr=0.05, max_lr=0.4, step_size_up=3, cycle_momentum=False),
    "in turn": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.StepLR(o, 2)], [3]
    ),
}


def decays(optimizer, params, steps, scheduler=None, base=0.2):
    """Takes steps without gradients, and asserts that each multiplies the weights by 1 - λ·lr/base."""
    for _ in range(steps):
        lr = float(optimizer.param_groups[0]["lr"])
        before = [wide(p) for p in params]
        fill(params, 0, size=0.0)
        optimizer.step()
        for param, value in zip(params, before, strict=True):
            np.testing.assert_allclose(wide(param), value * (1 - DECAY * lr / base), rtol=1e-12)
        if scheduler is not None:
            scheduler.step()


@ON_EVERY_BACKEND
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(name, backend):
    """The reference is the lr that the optimizer was given, whatever a scheduler makes of lr and of initial_lr."""
    params = make([(5,), (3, 2)], torch.float64)
    optimizer = AdamW(params, lr=0.2, weight_decay=DECAY, decouple_lr=True, backend=backend)
    scheduler = SCHEDULERS[name](optimizer)
    decays(optimizer, params, 6, scheduler)
    assert optimizer.param_groups[0]["reference_lr"] == 0.2
    with pytest.raises(AssertionError):
        decays(optimizer, params, 1, base=0.2 + 1e-9)


def test_one_cycle_moves_the_initial_lr():
    """Which is why it is not the reference."""
    optimizer = AdamW(make([(3,)]), lr=0.2, decouple_lr=True)
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.4, total_steps=8)
    assert optimizer.param_groups[0]["initial_lr"] != 0.2


@ON_EVERY_BACKEND
@pytest.mark.parametrize("lr", [torch.tensor(0.2, dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)])
def test_lr_tensors(lr, backend):
    params, lr = make([(5,), ()], torch.float64), lr.clone()
    optimizer = AdamW(params, lr=lr, weight_decay=DECAY, decouple_lr=True, backend=backend)
    for value in (0.2, 0.1, 0.4):
        lr.fill_(value)
        decays(optimizer, params, 1)


def through_state_dict(optimizer, params, backend):
    other = AdamW(params, lr=7.0, weight_decay=DECAY, decouple_lr=True, backend=backend)
    other.load_state_dict(optimizer.state_dict())
    return other


def through_a_checkpoint_of_one_that_does_not_know_it(optimizer, params, backend):
    other = AdamW(params, lr=7.0, backend=backend)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other


def through_pickle(optimizer, params, backend):
    other = pickle.loads(pickle.dumps(optimizer))
    other.param_groups[0]["params"] = params
    return other


@ON_EVERY_BACKEND
@pytest.mark.parametrize(
    "through", [through_state_dict, through_a_checkpoint_of_one_that_does_not_know_it, through_pickle]
)
def test_the_reference_is_saved(through, backend):
    params = make([(5,), (3, 2)], torch.float64)
    optimizer = AdamW(params, lr=0.2, weight_decay=DECAY, decouple_lr=True, backend=backend)
    optimizer.param_groups[0]["lr"] = 0.05
    decays(optimizer, params, 2)
    decays(through(optimizer, params, backend), params, 2)


@ON_EVERY_BACKEND
def test_groups_have_references_of_their_own(backend):
    first, second, third = make([(5,), (4,), (3,)], torch.float64)
    groups = [{"params": [first], "lr": 0.2}, {"params": [second], "lr": 0.05, "decouple_lr": True}]
    optimizer = AdamW(groups, lr=1.0, weight_decay=DECAY, backend=backend)
    optimizer.add_param_group({"params": [third], "lr": 0.01, "decouple_lr": True})
    assert [group.get("reference_lr") for group in optimizer.param_groups] == [None, 0.05, 0.01]
    for group in optimizer.param_groups:
        group["lr"] /= 2
    params = [first, second, third]
    before = [wide(p) for p in params]
    fill(params, 0, size=0.0)
    optimizer.step()
    for param, value, taken in zip(params, before, [0.1 * DECAY, DECAY / 2, DECAY / 2], strict=True):
        np.testing.assert_allclose(wide(param), value * (1 - taken), rtol=1e-12)


@ON_EVERY_BACKEND
def test_asked_for_after_construction(backend):
    """Relative to the lr at that time."""
    params = make([(5,), (3, 2)], torch.float64)
    optimizer = AdamW(params, lr=1.0, weight_decay=DECAY, backend=backend)
    decays(optimizer, params, 1, base=1.0)
    optimizer.param_groups[0] |= {"lr": 0.2, "decouple_lr": True}
    decays(optimizer, params, 1)
    optimizer.param_groups[0]["lr"] = 0.05
    decays(optimizer, params, 1)


@pytest.mark.parametrize(
    ("cls", "group", "message"),
    [(AdamW, {"lr": 0.0}, "divides by the group's first lr"), (Adam, {"weight_decay": 0.1}, "about decoupled decay")],
)
def test_asked_for_after_construction_and_impossible(cls, group, message):
    params = make([(5,)])
    optimizer = cls(params, lr=1.0)
    optimizer.param_groups[0] |= {**group, "decouple_lr": True}
    fill(params, 0)
    start = params[0].detach().clone()
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    assert torch.equal(params[0], start)
    assert not optimizer.state


def lasso(penalty, backend, decoupled, steps, lr=0.1):
    """Least squares with few true weights: the weights found, and the gradient of the squares there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 40))
    true = np.zeros(40)
    true[[3, 11, 20, 33]] = [1.5, -2.0, 0.7, 3.0]
    y = x @ true + 0.1 * rng.normal(size=200)
    w = torch.nn.Parameter(torch.zeros(40, dtype=torch.float64))
    optimizer = SGD([w], lr=lr, l1=penalty, decoupled_weight_decay=decoupled, backend=backend)

    def slope():
        return x.T @ (x @ wide(w) - y) / len(y)

    for _ in range(steps):
        w.grad = torch.from_numpy(slope())
        optimizer.step()
    return wide(w), slope()


@ON_EVERY_BACKEND
def test_proximal_descent_solves_the_lasso(backend):
    """At the minimum the slope is -λ₁·sign(w), or within ±λ₁ where w is zero: exactly zero."""
    w, slope = lasso(0.2, backend, decoupled=True, steps=250)
    used = w != 0
    assert used.nonzero()[0].tolist() == [3, 11, 20, 33]
    np.testing.assert_allclose(slope[used], -0.2 * np.sign(w[used]), rtol=1e-9)
    assert (np.abs(slope[~used]) < 0.2).all()


@ON_EVERY_BACKEND
def test_the_coupled_penalty_leaves_no_zeros(backend):
    """A step along a subgradient jumps over zero, by lr·λ₁ at most."""
    w, _ = lasso(0.2, backend, decoupled=False, steps=250)
    exact, _ = lasso(0.2, HERE[0], decoupled=True, steps=250)
    assert (w != 0).all()
    assert np.abs(w - exact).max() < 2 * 0.1 * 0.2


@ON_EVERY_BACKEND
@pytest.mark.parametrize(
    ("cls", "dtype"),
    [(SGD, torch.float32), (SGD, torch.float16), (AdamW, torch.bfloat16), (LAMB, torch.float32)],
    ids=["SGD", "SGD-fp16", "AdamW-bf16", "LAMB"],
)
def test_weights_become_exactly_zero_and_stay_there(cls, dtype, backend):
    params = make([(33,), (5, 3)], dtype)
    decoupled = {} if cls is AdamW else {"decoupled_weight_decay": True}
    optimizer = cls(params, lr=0.25, weight_decay=0, l1=1.0, backend=backend, **decoupled)
    expected = [wide(p) for p in params]
    for step in range(16):
        fill(params, step, size=0.0)
        optimizer.step()
        expected = [soft_threshold(e, 0.25) for e in expected]
        for param, value in zip(params, expected, strict=True):
            assert (wide(param)[value == 0] == 0).all() or dtype is not torch.float32
            np.testing.assert_allclose(wide(param), value, atol=1e-6 if dtype is torch.float32 else 0.1)
        assert {True, False} == {bool(w == 0) for p in params for w in p.reshape(-1)} or step > 3
    assert all((p == 0).all() for p in params)
