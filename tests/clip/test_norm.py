"""Norms, and clipping by them, against torch.nn.utils."""

import itertools
import math

import pytest
import torch

from tests.clip.common import (
    DTYPES,
    LAYOUTS,
    NORM_RTOL,
    ORDERS,
    REAL,
    assert_same_bits,
    assert_same_norm,
    conjugated,
    contiguous,
    make,
    parameters,
)
from torchopt_notes.clip import clip_grad_norm_, clip_grads_with_norm_, get_total_norm, norm
from torchopt_notes.engine import norms

INF, NAN = math.inf, math.nan
utils = torch.nn.utils
WAYS = [None, True, False]


def compare_norms(layout, dtype, order, foreach=None):
    expected = utils.get_total_norm(make(layout, dtype), order, foreach=foreach)
    assert_same_norm(get_total_norm(make(layout, dtype), order, foreach=foreach), expected, NORM_RTOL[dtype])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_norm_is_torchs(layout, dtype, order):
    for foreach in WAYS:
        compare_norms(layout, dtype, order, foreach)


@pytest.mark.parametrize("order", ORDERS)
def test_a_lazy_conjugate_has_the_same_norm(order):
    compare_norms(conjugated, torch.complex64, order)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_norm_of_another_order_is_caught(dtype, monkeypatch):
    monkeypatch.setattr(norm, "_order", lambda name, norm_type: float(norm_type) + 1)
    with pytest.raises(AssertionError):
        compare_norms(contiguous, dtype, 2)


@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.bfloat16, torch.float16),
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float64),
        (torch.complex64, torch.float16),
    ],
    ids=str,
)
def test_mixed_dtypes(dtypes):
    def mixed():
        return [grad for i, dtype in enumerate(dtypes) for grad in make(dtype=dtype, seed=i)]

    # torch rounds the norm of a bf16 tensor to bf16 before it adds it to the others.
    assert_same_norm(get_total_norm(mixed()), utils.get_total_norm(mixed()), 2**-7)
    given = torch.tensor(33.0)
    ours, theirs = parameters(mixed()), parameters(mixed())
    clip_grads_with_norm_(ours, 1.0, given)
    utils.clip_grads_with_norm_(theirs, 1.0, given)
    assert_same_bits([p.grad for p in ours], [p.grad for p in theirs])


def compare_clipping(layout, dtype, order, max_norm, foreach=None):
    """The norm is torch's but for rounding; given the norm, every bit of the gradients is."""
    ours, theirs = parameters(make(layout, dtype)), parameters(make(layout, dtype))
    given = parameters(make(layout, dtype))
    total = clip_grad_norm_(ours, max_norm, order, foreach=foreach)
    assert_same_norm(total, utils.clip_grad_norm_(theirs, max_norm, order, foreach=foreach), NORM_RTOL[dtype])
    utils.clip_grads_with_norm_(given, max_norm, total, foreach=foreach)
    assert_same_bits([p.grad for p in ours], [p.grad for p in given])
    for p, q in zip(ours, theirs, strict=True):
        subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        torch.testing.assert_close(p.grad, q.grad, rtol=2 * NORM_RTOL[dtype], atol=subnormal)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_clipping_is_torchs(layout, dtype, order):
    for foreach in WAYS:
        compare_clipping(layout, dtype, order, 0.37, foreach)


def limit_divided(norm, max_norm):
    return torch.div(torch.full_like(norm, max_norm), norm + 1e-6).clamp(max=1.0)


def no_epsilon(norm, max_norm):
    return (max_norm / norm).clamp(max=1.0)


def no_clamp(norm, max_norm):
    return max_norm / (norm + 1e-6)


NORMS = (0.0, 1e-7, 1e-6, 0.1, 0.3, 1.0, 3.7, 77.7, 1234.5, 6e4, INF, NAN)
LIMITS = (0.0, 1e-3, 0.37, 1.0, 2.5, INF)


def compare_coefficients(dtypes, limits=LIMITS):
    for dtype, given, limit, layout in itertools.product(dtypes, NORMS, limits, (contiguous, conjugated)):
        if layout is conjugated and not dtype.is_complex:
            continue
        given = torch.tensor(given, dtype=dtype.to_real())
        ours, theirs = parameters(make(layout, dtype)), parameters(make(layout, dtype))
        clip_grads_with_norm_(ours, limit, given)
        # torch's list operations refuse lazy conjugates.
        utils.clip_grads_with_norm_(theirs, limit, given, foreach=False if layout is conjugated else None)
        assert_same_bits([p.grad for p in ours], [p.grad for p in theirs])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_given_the_norm_every_bit_is_torchs(dtype):
    compare_coefficients([dtype])


@pytest.mark.parametrize("mistake", [limit_divided, no_epsilon, no_clamp])
def test_a_wrong_coefficient_is_caught(mistake, monkeypatch):
    monkeypatch.setattr(norm, "clip_coefficient", mistake)
    with pytest.raises(AssertionError):
        compare_coefficients([torch.float32, torch.float64], [0.37, 2.5])


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("limit", [1e4, INF])
def test_clipping_that_does_not_bite_changes_no_bit(dtype, limit):
    params = parameters(make(dtype=dtype))
    clip_grad_norm_(params, limit)
    assert_same_bits([p.grad for p in params], make(dtype=dtype))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", [0.0, INF, -INF, NAN])
@pytest.mark.parametrize("limit", [0.0, 1.0, INF])
def test_norms_that_are_no_ordinary_numbers(value, order, limit):
    results = []
    for clip in (clip_grad_norm_, utils.clip_grad_norm_):
        params = parameters([torch.full((3,), value), torch.zeros(2) if value == 0 else torch.ones(2)])
        results.append([clip(params, limit, order), *(p.grad for p in params)])
    assert_same_bits(*results)


def test_the_norm_of_many_numbers_is_exact():
    """torch adds fp32 numbers in fp32, and the sum of squares stops growing as it should."""
    values = torch.randn(20_000_000)
    exact = torch.linalg.vector_norm(values, dtype=torch.float64).item()
    assert abs(get_total_norm(values).item() / exact - 1) < 1e-7
    assert abs(utils.get_total_norm(values).item() / exact - 1) > 1e-4


@pytest.mark.parametrize("order", [1, 2, 3.0])
def test_a_large_tensor_is_measured_in_pieces(order, monkeypatch):
    values = torch.randn(1000)
    whole = get_total_norm(values, order)
    monkeypatch.setattr(norms, "PIECE", 64)
    assert len(norms.pieces(values)) == 16
    assert_same_norm(get_total_norm(values, order), whole, 1e-7)


def test_the_step_that_follows_sees_clipped_gradients():
    """Clipping between backward and step, with and without torch's function."""
    results = []
    for clip in (clip_grad_norm_, utils.clip_grad_norm_):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(4, 5, dtype=torch.float64)).pow(2).sum().backward()
            clip(model.parameters(), 0.1)
            optimizer.step()
        results.append([p.detach() for p in model.parameters()])
    assert_same_bits(*results)
