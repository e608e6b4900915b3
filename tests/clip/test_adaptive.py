"""Adaptive clipping against the paper's equation, element by element, and against the optimizers' own."""

import math

import pytest
import torch

from tests.clip.common import DTYPES, LAYOUTS, assert_same_bits, conjugated, contiguous, make
from torchopt_notes import SGD
from torchopt_notes.clip import adaptive, adaptive_clip_grad_

SHAPES = ((), (1,), (63,), (17, 31), (2, 3, 4, 5), (1, 7), (5, 1), (0,), (0, 3), (3, 0))
RTOL = {torch.bfloat16: 2**-8, torch.float16: 2**-10, torch.float64: 1e-14}


def paper(weight, grad, factor, eps):
    """Equation 3, in Python's numbers."""
    units = [(weight, grad)] if weight.dim() < 2 else list(zip(weight, grad, strict=True))
    clipped = []
    for w, g in units:
        w_norm = math.sqrt(sum(abs(value) ** 2 for value in w.flatten().tolist()))
        g_norm = math.sqrt(sum(abs(value) ** 2 for value in g.flatten().tolist()))
        most = factor * max(w_norm, eps)
        clipped.append(g * (most / g_norm) if g_norm > most else g)
    return torch.stack(clipped).view(grad.shape) if clipped else grad


def weights_and_gradients(layout, dtype, shapes=SHAPES):
    """Weights of every size, so that some units are clipped and others are not; some weights are 0."""
    params = [torch.nn.Parameter(weight) for weight in make(layout, dtype, shapes)]
    for i, param in enumerate(params):
        param.data.mul_((0.0, 0.02, 30.0)[i % 3])
        param.grad = layout(tuple(param.shape), dtype)
        if param.dim() > 1 and len(param):
            param.grad[0] *= 1e-3
    return params


def compare(clip, layout, dtype, factor=0.1, eps=1e-2):
    params = weights_and_gradients(layout, dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    expected = [paper(p.detach().to(wide), p.grad.to(wide), factor, eps).to(dtype) for p in params]
    before = [p.detach().clone() for p in params]
    assert clip(params, factor, eps) is None
    for param, value in zip(params, expected, strict=True):
        torch.testing.assert_close(param.grad, value, rtol=RTOL.get(dtype, 1e-6), atol=0)
    assert_same_bits([p.detach() for p in params], before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_papers_equation(layout, dtype):
    compare(adaptive_clip_grad_, layout, dtype)


def test_lazy_conjugates():
    compare(adaptive_clip_grad_, conjugated, torch.complex64)


def one_unit(params, factor, eps):
    for p in params:
        p.grad.copy_(paper(p.detach().flatten(), p.grad.flatten(), factor, eps).view(p.shape))


def weights_forgotten(params, factor, eps):
    for p in params:
        p.grad.copy_(paper(torch.ones_like(p), p.grad, factor, eps))


def no_eps(params, factor, eps):
    adaptive_clip_grad_(params, factor, 1e-30)


@pytest.mark.parametrize("mistake", [one_unit, weights_forgotten, no_eps])
def test_a_wrong_clip_is_caught(mistake):
    with pytest.raises(AssertionError):
        compare(mistake, contiguous, torch.float64)


def test_the_defaults_are_the_papers():
    results = []
    for arguments in ((), (0.01, 1e-3)):
        params = weights_and_gradients(contiguous, torch.float32)
        adaptive_clip_grad_(params, *arguments)
        results.append([p.grad for p in params])
    assert_same_bits(*results)


def test_small_gradients_keep_every_bit():
    params = weights_and_gradients(contiguous, torch.float32)
    before = [p.grad.clone() for p in params]
    adaptive_clip_grad_(params, clip_factor=1e8)
    assert_same_bits([p.grad for p in params], before)


def test_the_optimizers_clip_alike():
    """Their own option leaves the gradients as they are; what is subtracted is the same."""
    results = []
    for ours in (True, False):
        params = weights_and_gradients(contiguous, torch.float32)
        if ours:
            adaptive_clip_grad_(params, clip_factor=0.02, eps=1e-3)
        options = {} if ours else {"adaptive_clip": 0.02, "adaptive_eps": 1e-3}
        SGD(params, lr=1.0, backend="eager", **options).step()
        results.append([p.detach() for p in params])
    assert_same_bits(*results)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_nan_survives(value):
    """An inf becomes one: it has no direction to be clipped in."""
    param = torch.nn.Parameter(torch.ones(2, 3))
    param.grad = torch.full((2, 3), 0.5)
    param.grad[1, 1] = value
    adaptive_clip_grad_(param)
    assert param.grad[0].isfinite().all()
    assert param.grad[1, 1].isnan()


def test_any_iterable_and_missing_gradients():
    params = weights_and_gradients(contiguous, torch.float32, [(3, 4), (5,)])
    unused = torch.nn.Parameter(torch.ones(2))
    before = [p.grad.clone() for p in params]
    adaptive_clip_grad_(p for p in [*params, unused])
    assert unused.grad is None
    assert all((p.grad != old).any() for p, old in zip(params, before, strict=True))
    adaptive_clip_grad_([])


@pytest.mark.parametrize("argument", ["clip_factor", "eps"])
@pytest.mark.parametrize("value", [-0.1, 0, math.nan, math.inf, "much"])
def test_bad_numbers(argument, value):
    params = weights_and_gradients(contiguous, torch.float32)
    before = [p.grad.clone() for p in params]
    with pytest.raises(ValueError, match=f"adaptive_clip_grad_: Invalid {argument} value: {value}; {argument} must be"):
        adaptive_clip_grad_(params, **{argument: value})
    assert_same_bits([p.grad for p in params], before)


def test_gradients_that_cannot_be_clipped():
    good, sparse, expanded, reshaped = (torch.nn.Parameter(torch.ones(3)) for _ in range(4))
    good.grad = torch.ones(3)
    sparse.grad = torch.ones(3).to_sparse()
    expanded.grad = torch.ones(1).expand(3)
    reshaped.grad = torch.ones(3)
    reshaped.data = torch.ones(4)
    for bad, message in ((sparse, "sparse"), (expanded, "single memory location"), (reshaped, "gradient of shape")):
        with pytest.raises(RuntimeError, match=message):
            adaptive_clip_grad_([good, bad])
    assert good.grad.tolist() == [1.0] * 3


def test_kernels_are_not_asked_about_narrow_weights_with_wide_gradients():
    """They would compute in the weights' precision."""
    assert adaptive._suits(torch.ones(2), torch.ones(2))
    assert not adaptive._suits(torch.ones(2), torch.ones(2, dtype=torch.float64))
