"""The kernels behind the free functions, in Triton's interpreter: their numbers."""

import itertools
import math

import pytest
import torch

from tests.clip.common import (
    FUSED,
    KINDS,
    LAYOUTS,
    NORM_RTOL,
    assert_same_bits,
    assert_same_norm,
    contiguous,
    make,
    parameters,
)
from tests.clip.test_adaptive import compare as compare_adaptive
from tests.clip.test_norm import LIMITS, NORMS
from torchopt_notes.clip import (
    adaptive_clip_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)

pytestmark = FUSED
utils = torch.nn.utils
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64)
SHAPES = ((), (3,), (0,), (17, 31), (4096,), (2, 4097))


def compare_norms(layout, dtype, order):
    """With torch's operations, which test_norm.py compares with torch's functions."""
    expected = get_total_norm(make(layout, dtype, SHAPES), order, foreach=False)
    rtol = {torch.float64: 1e-14}.get(dtype, NORM_RTOL[dtype])
    assert_same_norm(get_total_norm(make(layout, dtype, SHAPES), order), expected, rtol)


# The interpreter finds the largest number one by one.
CELLS = [(contiguous, dtype, order) for dtype in DTYPES for order in (1, 2, 3.0)]
CELLS += [(layout, torch.float32, order) for layout in LAYOUTS[1:] for order in (2, 3.0)]
CELLS += [(contiguous, dtype, "inf") for dtype in (torch.bfloat16, torch.complex64)]


@pytest.mark.parametrize(("layout", "dtype", "order"), CELLS)
def test_norms(layout, dtype, order):
    compare_norms(layout, dtype, order)


def test_a_norm_of_another_order_is_caught(monkeypatch):
    from torchopt_notes.clip import launches

    genuine = launches.decide_constants
    monkeypatch.setattr(launches, "decide_constants", lambda dtype, order, **k: genuine(dtype, order + 1, **k))
    with pytest.raises(AssertionError):
        compare_norms(contiguous, torch.float32, 2)


def compare_coefficients(dtype, norms=NORMS):
    """Given the norm, the number that gradients are multiplied with is torch's, bit for bit."""
    for given, limit in itertools.product(norms, LIMITS):
        given = torch.tensor(given, dtype=dtype.to_real())
        ours, theirs = (parameters(make(dtype=dtype, shapes=[(3,), (17, 5)])) for _ in range(2))
        clip_grads_with_norm_(ours, limit, given)
        utils.clip_grads_with_norm_(theirs, limit, given)
        for p, q in zip(ours, theirs, strict=True):
            # Complex numbers are pairs of reals here: a part that is finite stays so when the other one becomes NaN.
            if not dtype.is_complex or q.grad.isfinite().all():
                assert_same_bits([p.grad], [q.grad])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_given_the_norm_every_bit_is_torchs(dtype, launched):
    compare_coefficients(dtype)
    assert set(launched) == {"decide", "scale_bucket"}


@pytest.mark.parametrize("total_dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
def test_a_norm_of_another_dtype_than_the_gradients(dtype, total_dtype):
    # Not (), which torch promotes like the norm.
    ours, theirs = (parameters(make(dtype=dtype, shapes=SHAPES[1:])) for _ in range(2))
    clip_grads_with_norm_(ours, 1 / 3, torch.tensor(77.7).to(total_dtype))
    utils.clip_grads_with_norm_(theirs, 1 / 3, torch.tensor(77.7).to(total_dtype))
    assert_same_bits([p.grad for p in ours], [p.grad for p in theirs])


@pytest.mark.parametrize("mistake", ["no_epsilon", "one_rounding"])
def test_a_wrong_coefficient_is_caught(mistake, monkeypatch):
    from tests.clip import wrong_kernels
    from torchopt_notes.clip import launches

    monkeypatch.setattr(launches.clip, "decide", getattr(wrong_kernels, mistake))
    with pytest.raises(AssertionError):
        compare_coefficients(torch.float32, NORMS[3:-2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_clipping_is_measuring_then_scaling(dtype, launched):
    """The norm and the number are worked out in one launch, or in two; no bit depends on it."""
    together, apart = (parameters(make(dtype=dtype, shapes=SHAPES)) for _ in range(2))
    total = clip_grad_norm_(together, 0.37)
    assert launched == KINDS
    clip_grads_with_norm_(apart, 0.37, get_total_norm([p.grad for p in apart]))
    assert launched[3:] == ["sum_bucket", "decide", "decide", "scale_bucket"]
    assert_same_bits([p.grad for p in together], [p.grad for p in apart])
    reference = parameters(make(dtype=dtype, shapes=SHAPES))
    utils.clip_grads_with_norm_(reference, 0.37, total)
    assert_same_bits([p.grad for p in together], [p.grad for p in reference])


def compare_values(clip, dtype):
    for limit in (0.0, 0.1, 1 / 3, 1e4):
        results = []
        for function in (clip, utils.clip_grad_value_):
            params = parameters(make(dtype=dtype, shapes=SHAPES))
            params[1].grad.copy_(torch.tensor([math.nan, math.inf, -math.inf]))
            function(params, limit)
            results.append([p.grad for p in params])
        assert_same_bits(*results)


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
def test_clipping_by_value(dtype, launched):
    compare_values(clip_grad_value_, dtype)
    assert set(launched) == {"clamp_bucket"}


def test_a_wrong_clamp_is_caught(monkeypatch):
    from tests.clip import wrong_kernels
    from torchopt_notes.clip import launches

    monkeypatch.setattr(launches.clip, "clamp_bucket", wrong_kernels.nan_forgotten)
    with pytest.raises(AssertionError):
        compare_values(clip_grad_value_, torch.float32)


@pytest.mark.parametrize(
    ("layout", "dtype"), [(contiguous, dtype) for dtype in DTYPES[1:]] + [(layout, torch.float32) for layout in LAYOUTS]
)
def test_adaptive_clipping(layout, dtype, launched):
    compare_adaptive(adaptive_clip_grad_, layout, dtype)
    expected = {"measure_units", "finish_units", "scale_units"}
    assert set(launched) == expected


@pytest.mark.parametrize("mistake", ["units_swapped", "eps_forgotten"])
def test_wrong_adaptive_clipping_is_caught(mistake, monkeypatch):
    from torchopt_notes.clip import unit_launches

    genuine = unit_launches.clip_units
    wrong = {
        "units_swapped": lambda params, grads, factor, eps: genuine([p.flip(0) for p in params], grads, factor, eps),
        "eps_forgotten": lambda params, grads, factor, eps: genuine(params, grads, factor, 1e-30),
    }
    monkeypatch.setattr(unit_launches, "clip_units", wrong[mistake])
    with pytest.raises(AssertionError):
        compare_adaptive(adaptive_clip_grad_, contiguous, torch.float32)
