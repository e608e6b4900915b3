"""What surrounds a step: ours within it, others' around it, with the same numbers."""

import functools

import pytest
import torch

from benchmarks.contestants import HYPERPARAMETERS, OURS, find_contestants
from benchmarks.operations import MAX_NORM, OPERATIONS, bind, ours

TORCH = find_contestants(["torch default"])[1]


def updated(contestant, operation, extra=None, optimizer="sgd", steps=3):
    """Parameters after some steps on gradients whose norm is far above the bound."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 5), (40,))]
    grads = [torch.randn_like(param) * 10 for param in params]
    make = contestant.maker(optimizer, HYPERPARAMETERS[optimizer], "cpu")
    made = make(params, **(ours(operation) if extra is None else extra))
    run = bind(operation, contestant, made, params, "cpu")
    for _ in range(steps):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        run()
    return params


@pytest.mark.parametrize("operation", OPERATIONS)
def test_ours_and_torchs_come_to_the_same(operation):
    torch.testing.assert_close(updated(OURS, operation), updated(TORCH, operation, extra={}))


@pytest.mark.parametrize("operation", ["clip", "unscale"])
@pytest.mark.parametrize(("contestant", "extra"), [(OURS, None), (TORCH, {})], ids=["ours", "torch"])
def test_gradients_are_clipped(contestant, extra, operation):
    """With SGD, where it shows: how far parameters move goes with the gradient."""
    clipped, plain = updated(contestant, operation, extra, steps=1), updated(contestant, "step", {}, steps=1)
    start = updated(contestant, "step", {}, steps=0)
    moved, freely = (
        torch.stack([(a - b).norm() for a, b in zip(params, start, strict=True)]).norm() for params in (clipped, plain)
    )
    assert moved.item() == pytest.approx(HYPERPARAMETERS["sgd"]["lr"] * MAX_NORM, rel=1e-3)
    assert freely > 10 * moved


def test_ours_without_its_argument_would_not_be():
    free = functools.partial(torch.testing.assert_close, updated(OURS, "clip", {}))
    free(updated(TORCH, "step", {}))
    with pytest.raises(AssertionError):
        free(updated(TORCH, "clip", {}))


def test_a_step_alone_is_the_optimizers_own():
    params = [torch.nn.Parameter(torch.ones(3))]
    made = torch.optim.SGD(params)
    assert bind("step", TORCH, made, params, "cpu") == made.step
    assert ours("step") == {}
