"""Adadelta: ``torchopt_notes.optim.adadelta`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """v ← ρ·v + (1 - ρ)·g²; Δ = √(u + ε) / √(v + ε) · g; u ← ρ·u + (1 - ρ)·Δ²; w ← w - lr·Δ."""
    lr, rho, weight, eps = scalars
    square_avg = rho * state[0] + weight * grad * grad
    # Multiplied first: the other way round the registers do not suffice on some targets.
    delta = divide(square_root(state[1] + eps) * grad, square_root(square_avg + eps))
    acc_delta = rho * state[1] + weight * delta * delta
    param -= lr * delta
    return param, (square_avg, acc_delta)


@triton.jit
def scalars(step, hyper):
    """1 - ρ, in fp64."""
    lr, rho, eps = hyper
    return lr, rho, 1 - rho, eps
