"""Adamax: ``torchopt_notes.optim.adamax`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β₁)(g - m); u ← max(β₂·u, |g| + ε); w ← w - step_size·m / u."""
    step_size, weight1, beta2, eps = scalars
    exp_avg = state[0] + weight1 * (grad - state[0])
    # A NaN must survive: it tells the user that training has broken down.
    exp_inf = tl.maximum(beta2 * state[1], tl.abs(grad) + eps, propagate_nan=tl.PropagateNan.ALL)
    param -= divide(step_size * exp_avg, exp_inf)
    return param, (exp_avg, exp_inf)


@triton.jit
def scalars(step, hyper):
    """The bias correction, in fp64."""
    lr, beta1, beta2, eps, corrected = hyper
    return lr / (1 - corrected * power(beta1, step)), 1 - beta1, beta2, eps
