"""Momentum with the learning rate inside: v ← μv - αg, w ← w + v."""

import triton
import triton.language as tl  # noqa: F401  (the interpreter looks for it in every module with a kernel)

from .sgd import update as update


@triton.jit
def scalars(step, hyper):
    """What the shared update multiplies with: it subtracts -1 times the velocity."""
    lr, momentum = hyper
    return lr * 0 - 1, momentum, -lr, momentum
