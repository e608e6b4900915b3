"""Momentum as a moving average: v ← βv + (1 - β)g, w ← w - ηv."""

import triton
import triton.language as tl  # noqa: F401  (the interpreter looks for it in every module with a kernel)

from .sgd import update as update


@triton.jit
def scalars(step, hyper):
    """What the shared update multiplies with."""
    lr, momentum = hyper
    return lr, momentum, 1 - momentum, momentum
