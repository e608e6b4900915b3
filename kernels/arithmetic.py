"""Correctly rounded division and square root.

``/`` and ``tl.sqrt`` are approximations in fp32 on NVIDIA GPUs. An update moves tens of bytes per element, so the
rounded forms cost nothing that can be measured, and they keep kernels within a rounding or two of the reference.
"""

import triton
import triton.language as tl


@triton.jit
def divide(x, y):
    """x / y, correctly rounded. fp64 division always is."""
    if x.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)


@triton.jit
def inverse(y):
    """1 / y, correctly rounded."""
    if y.dtype == tl.float64:
        return 1.0 / y
    else:
        return tl.div_rn(1.0, y)


@triton.jit
def square_root(x):
    """√x, correctly rounded. fp64's always is."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit
def power(base, exponent):
    """base ** exponent in fp64, for a base in [0, 1] and an exponent > 0. A base of 0 gives exp(-inf) = 0."""
    return tl.exp(exponent * tl.log(base))
