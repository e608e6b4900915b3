"""Adafactor for matrices: ``torchopt_notes.optim.adafactor`` in Triton."""

import triton
import triton.language as tl

from .adafactor import direction, finish, least, scalars, step
from .arithmetic import divide

__all__ = ["finish", "measure", "scalars", "update"]


@triton.jit
def variance(state, scalars, FLAGS: tl.constexpr):
    """v = r·c / max(mean r, ε₁)."""
    row, column, mean = state
    return divide(row * column, tl.maximum(mean, least(scalars, FLAGS), propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """‖w‖² and ‖u‖²."""
    update = direction(grad, variance(state, scalars, FLAGS), scalars, FLAGS)
    return param * param, update * update


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """The step along u. The factors have been renewed already."""
    return step(param, grad, variance(state, scalars, FLAGS), scalars, FLAGS), ()
