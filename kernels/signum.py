"""Signum and signSGD: ``torchopt_notes.optim.sign`` in Triton."""

import triton
import triton.language as tl

from .lion import sign


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β)(g - m); w ← w - lr·sign(m), or along the gradient's sign."""
    lr, weight = scalars
    MOMENTUM: tl.constexpr = FLAGS[0]
    if MOMENTUM:
        buffer = state[0] + weight * (grad - state[0])
        return param - lr * sign(buffer), (buffer,)
    else:
        return param - lr * sign(grad), ()


@triton.jit
def scalars(step, hyper):
    """1 - β, in fp64."""
    lr, momentum = hyper
    return lr, 1 - momentum
