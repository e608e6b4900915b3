"""Partial sums of gradients, as torch's operations take them."""

import math

import numpy as np
import pytest
import torch

from torchopt_notes.engine import norms
from torchopt_notes.engine.norms import combine, power_sums

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(norms, "PIECE", 64)


def tensors_of_all_kinds(dtype):
    """Some in pieces and some whole, one without a number, a transposed, a 0-d and a sparse one."""
    torch.manual_seed(0)
    dense = [torch.randn(shape, dtype=dtype) for shape in [(300,), (3,), (0,), (64,), (65,), (), (20, 30)]]
    values = torch.randn(5, 40, dtype=dtype)
    return [*dense, torch.randn(30, 20, dtype=dtype).t(), torch.sparse_coo_tensor([[0, 2, 4, 6, 8]], values, (10, 40))]


def exact(tensors, order):
    wide = [t.to_dense().to(torch.complex128 if t.is_complex() else torch.float64).flatten() for t in tensors]
    return np.linalg.norm(torch.cat(wide).numpy(), order)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_over_tensors_of_all_kinds(dtype, order):
    tensors = tensors_of_all_kinds(dtype)
    partials = power_sums(tensors, order)
    assert len(norms.pieces(tensors[0])) == (1 if dtype is torch.float64 else 5)
    assert partials.dtype is torch.float64
    assert combine(partials, order).item() == pytest.approx(exact(tensors, order), rel=1e-12, abs=0)
    assert not partials[1].any()
    without_one = power_sums(tensors[1:], order)
    if order != math.inf:
        assert combine(without_one, order).item() != pytest.approx(exact(tensors, order), rel=1e-3, abs=0)


@pytest.mark.parametrize("order", [2.0, 3.0, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_no_number_is_found_in_each(value, dtype, order):
    for i, tensor in enumerate(tensors := tensors_of_all_kinds(dtype)):
        if tensor.numel():
            values = tensor._values() if tensor.is_sparse else tensor
            kept = values.clone()
            values[(-1,) * values.dim()] = value
            assert power_sums(tensors, order)[1].any(), i
            values.copy_(kept)
    assert not power_sums(tensors, order)[1].any()


@pytest.mark.parametrize("tensors", [[], [torch.zeros(0)], [torch.zeros(0), torch.zeros(3, 0)]], ids=len)
def test_the_norm_of_nothing_is_zero(tensors):
    partials = power_sums(tensors, 2.0)
    assert combine(partials, 2.0).item() == 0
    assert not partials[1].any()


def test_nothing_is_recorded_for_autograd():
    tensor = torch.randn(5, requires_grad=True)
    with torch.enable_grad():
        assert not power_sums([tensor], 2.0).requires_grad
