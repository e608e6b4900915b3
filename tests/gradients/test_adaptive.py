"""Adaptive gradient clipping (Brock et al. 2021, arXiv 2102.06171) against NumPy, on every optimizer and backend."""

import math

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.references import (
    ONE_EACH,
    assert_untouched,
    bits,
    fill,
    limited,
    make,
    step_within_bounds,
    total_norm,
    unit_scales,
    wide,
)
from torchopt_notes import ASGD, LARS, SGD, Adafactor, AdamW

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
ROUNDINGS = 5
"""Units that the product with a unit's number adds: two norms, the limit, the ratio and the product are rounded."""


def unchanged(tensor):
    return tensor


def with_gaps(tensor):
    """The same numbers in every second column of a wider tensor."""
    return torch.stack([tensor, tensor], dim=-1).flatten(-2)[..., ::2]


def as_parameter(value, layout):
    return torch.nn.Parameter(layout(value))


LAYOUTS = {
    "number": ((), unchanged),
    "single": ((1,), unchanged),
    "vector": ((7,), unchanged),
    "matrix": ((5, 3), unchanged),
    "convolution": ((4, 3, 2, 2), unchanged),
    "one column": ((9, 1), unchanged),
    "one row": ((1, 9), unchanged),
    "of ones": ((3, 1, 1), unchanged),
    "no elements": ((0,), unchanged),
    "no units": ((0, 4), unchanged),
    "empty units": ((3, 0), unchanged),
    "transposed": ((6, 4), lambda t: t.t().contiguous().t()),
    "channels last": ((4, 3, 2, 5), lambda t: t.to(memory_format=torch.channels_last)),
    "permuted": ((3, 4, 5), lambda t: t.permute(1, 0, 2).contiguous().permute(1, 0, 2)),
    "with gaps": ((4, 6), with_gaps),
    "vector with gaps": ((6,), with_gaps),
}


def start(layout, dtype=torch.float64, seed=0):
    shape, arrange = LAYOUTS[layout]
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(arrange(torch.randn(shape, generator=generator, dtype=dtype)))


def descend(params, grads, backend, steps=1, **options):
    """What one step of plain descent leaves, and what NumPy says of it."""
    optimizer = SGD(params, lr=1.0, backend=backend, **options)
    for _ in range(steps):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        weights = [wide(p) for p in params]
        before = bits(grads)
        optimizer.step()
        assert_untouched(grads, before)
    expected = [w - limited(w, wide(g), **options) for w, g in zip(weights, grads, strict=True)]
    return [wide(p) for p in params], expected


def assert_close(found, expected, rtol=1e-13):
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("clip", [0.01, 1.0])
def test_units_of_every_shape_and_layout(clip, backend):
    """Gradients that lie as their parameters do, and gradients that do not."""
    params = [start(layout) for layout in LAYOUTS]
    grads = [torch.empty_like(p).copy_(torch.randn_like(p)) for p in params]
    assert_close(*descend(params, grads, backend, steps=2, adaptive_clip=clip))
    dense = [g.contiguous() for g in grads]
    assert_close(*descend(params, dense, backend, adaptive_clip=clip))


def test_the_comparison_can_fail(backend):
    """By columns, by single numbers, over all of a tensor, or with another limit."""
    params = [start("matrix"), start("convolution")]
    grads = [torch.randn_like(p) for p in params]
    weights = [wide(p) for p in params]
    (found, expected) = descend(params, grads, backend, adaptive_clip=0.1)
    assert_close(found, expected)

    def other(scales):
        return [w - wide(g) * scales(w, wide(g)) for w, g in zip(weights, grads, strict=True)]

    wrong = [
        lambda w, g: unit_scales(w.swapaxes(0, 1), g.swapaxes(0, 1), 0.1).swapaxes(0, 1),
        lambda w, g: unit_scales(w.reshape(-1, 1), g.reshape(-1, 1), 0.1).reshape(w.shape),
        lambda w, g: unit_scales(w.reshape(-1), g.reshape(-1), 0.1),
        lambda w, g: unit_scales(w, g, 0.1 * (1 + 1e-9)),
    ]
    for scales in wrong:
        with pytest.raises(AssertionError):
            assert_close(found, other(scales))


@pytest.mark.parametrize(
    "shape", [(2, 16391), (3, 8192), (3, 8193), (20001,), (2, 3, 2731), (1025, 2), (130, 129)], ids=str
)
def test_units_longer_than_what_one_program_sums_up(shape, backend):
    params = make([shape, (3, 5)], torch.float64)
    grads = [torch.randn_like(p) for p in params]
    assert_close(*descend(params, grads, backend, adaptive_clip=0.01))


@pytest.mark.parametrize("eps", [1e-3, 0.5, 100.0])
def test_small_weights_count_as_eps(eps, backend):
    params = [start("matrix"), start("vector"), torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))]
    grads = [torch.randn_like(p) for p in params]
    assert_close(*descend(params, grads, backend, adaptive_clip=0.01, adaptive_eps=eps))


def test_gradients_that_vanish_do_not_grow(backend):
    """Their norm counts as 1e-6 at least, as in the paper's code."""
    params = [torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.float64)) for _ in range(3)]
    grads = [torch.randn(4, 3, dtype=torch.float64) * size for size in (0.0, 1e-9, 3e-7)]
    found, expected = descend(params, grads, backend, adaptive_clip=1e-4)
    for actual, wanted, grad in zip(found, expected, grads, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-13, atol=0)
        assert (np.abs(actual) <= wide(grad.abs())).all()
    assert np.abs(found[2]).max() < 2e-7  # clipped, with the norm counted as 1e-6


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_stays_where_it_is(value, backend):
    """A NaN stays where it is; an infinite norm leaves zeros of the rest of its unit."""
    params = [start("matrix"), start("vector")]
    grads = [torch.randn_like(p) for p in params]
    grads[0][1, 1] = value
    found, expected = descend(params, grads, backend, adaptive_clip=0.1)
    assert np.isnan(found[0]).nonzero()[0].tolist() == [1]
    assert np.isnan(found[0]).nonzero()[1].tolist() == [1]
    np.testing.assert_allclose(np.delete(found[0], 1, 0), np.delete(expected[0], 1, 0), rtol=1e-13)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-13)


def test_weights_that_are_no_numbers_spoil_nothing_else(backend):
    params = [start("matrix")]
    params[0].data[1, 1] = math.nan
    grads = [torch.randn_like(p) for p in params]
    found, _ = descend(params, grads, backend, adaptive_clip=0.1)
    assert np.isnan(found[0]).nonzero()[0].tolist() == [1]


def cell(case, backend):
    compiled = backend == "compiled" and case.optimizer is not AdamW
    return pytest.mark.full if compiled else ()


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.complex64, torch.float64]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, marks=[] if dtype in quick else pytest.mark.full, id=f"{case.name}-{dtype}")
        for case in ONE_EACH
        for dtype in DTYPES
        for quick in [DTYPES if case.optimizer is ASGD else [torch.complex64] if case.optimizer is AdamW else []]
        if case.takes(dtype)
    ],
)
def test_every_optimizer(case, dtype, backend):
    """In fp32 the quick tests do this together with the other limits."""
    params = make(case.shapes, dtype)
    optimizer = case.optimizer(params, **case.kwargs, adaptive_clip=0.05, backend=backend)
    for step in range(2):
        fill(params, step)
        step_within_bounds(
            *(optimizer, case.reference or case.optimizer, case.kwargs, case.units + ROUNDINGS),
            lambda w, g, group: limited(w, g, adaptive_clip=0.05),
        )


def test_matrices_larger_than_a_tile(backend):
    """Adafactor looks at rows and columns of a tile at a time, some of which belong to other units."""
    params = make([(3, 40, 150), (70, 300)] if backend == "triton" else [(70, 300)])
    kwargs = {"lr": 0.1, "eps": (1e-7, 1e-3)}
    optimizer = Adafactor(params, **kwargs, adaptive_clip=0.05, backend="triton" if backend == "triton" else "eager")
    fill(params, 0)
    step_within_bounds(
        *(optimizer, Adafactor, kwargs, 6 + ROUNDINGS), lambda w, g, group: limited(w, g, adaptive_clip=0.05)
    )


@pytest.mark.parametrize("optimizer_class", [SGD, LARS])
def test_a_limit_that_is_not_reached_changes_nothing(optimizer_class, backend):
    ours, theirs = make([(5, 3), (7,), ()]), make([(5, 3), (7,), ()])
    for params, options in ((ours, {"adaptive_clip": 1e9}), (theirs, {})):
        optimizer = optimizer_class(params, lr=0.1, momentum=0.9, backend=backend, **options)
        for step in range(3):
            fill(params, step)
            optimizer.step()
    assert all(map(torch.equal, ours, theirs))


def test_every_group_has_limits_of_its_own_which_may_change(backend):
    params = make([(4, 5), (4, 5), (4, 5)], torch.float64)
    clip = torch.tensor(0.25)
    groups = [
        {"params": params[:1], "adaptive_clip": 0.5, "adaptive_eps": 2.0},
        {"params": params[1:2], "adaptive_clip": clip},
        {"params": params[2:]},
    ]
    optimizer = SGD(groups, lr=1.0, backend=backend)
    for first, second in ((0.5, 0.25), (0.125, 0.0625)):
        optimizer.param_groups[0]["adaptive_clip"] = first
        clip.fill_(second)
        fill(params, 0)
        weights, grads = [wide(p) for p in params], [wide(p.grad) for p in params]
        optimizer.step()
        options = [{"adaptive_clip": first, "adaptive_eps": 2.0}, {"adaptive_clip": second}, {}]
        expected = [w - limited(w, g, **o) for w, g, o in zip(weights, grads, options, strict=True)]
        assert_close([wide(p) for p in params], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_all_gradients_is_taken_before(dtype, backend):
    """Also from the second step on, when small tensors lie side by side in the precision that they are clipped in."""
    params = make([(5, 7), (9,)], dtype)
    optimizer = AdamW(params, max_grad_norm=1.0, adaptive_clip=0.01, backend=backend)
    for step in range(3):
        fill(params, step)
        optimizer.step()
        assert optimizer.grad_norm.item() == pytest.approx(total_norm([p.grad for p in params]), rel=1e-6)
