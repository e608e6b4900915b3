"""Gradients that the tests of this folder share, and how results are compared."""

import pytest
import torch

REAL = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
DTYPES = (*REAL, torch.complex64)
ORDERS = (1, 2, 3.0, "inf")
SHAPES = ((), (1,), (63,), (17, 31), (2, 3, 4, 5), (1025,))

FUSED = [
    pytest.mark.usefixtures("_poisoned_memory"),
    # NumPy's, about the logarithm of zero and products of inf, which are meant.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
"""What files with interpreted kernels are marked with."""

KINDS = ["sum_bucket", "decide", "scale_bucket"]
"""The launches of clipping by norm."""

# An ulp of the norm: sums are taken in fp64 here, in the tensors' precision there.
NORM_RTOL = {
    torch.float64: 0.0,
    torch.float32: 1e-6,
    torch.complex64: 1e-6,
    torch.bfloat16: 2**-7,
    torch.float16: 2**-10,
}


def contiguous(shape, dtype):
    return torch.randn(shape, dtype=torch.complex64 if dtype.is_complex else torch.float32).to(dtype)


def transposed(shape, dtype):
    return contiguous(shape[::-1], dtype).permute(tuple(reversed(range(len(shape)))))


def with_gaps(shape, dtype):
    return contiguous((*shape, 2), dtype)[..., 0]


def unaligned(shape, dtype):
    return contiguous((torch.Size(shape).numel() + 1,), dtype)[1:].view(shape)


def conjugated(shape, dtype):
    return contiguous(shape, dtype).conj()


LAYOUTS = (contiguous, transposed, with_gaps, unaligned)


def make(layout=contiguous, dtype=torch.float32, shapes=SHAPES, seed=0):
    """The same gradients at every call, in memory of their own."""
    torch.manual_seed(seed)
    return [layout(shape, dtype) for shape in shapes]


def parameters(grads):
    """One for each gradient, holding it as it is."""
    params = [torch.nn.Parameter(torch.zeros(grad.shape, dtype=grad.dtype)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    return params


def assert_same_bits(actual, expected):
    """Equal numbers in equal dtypes; a NaN equals a NaN."""
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def assert_same_norm(actual, expected, rtol):
    assert (actual.dim(), actual.dtype, actual.device) == (expected.dim(), expected.dtype, expected.device)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=0, equal_nan=True)
