"""LaProp: ``torchopt_notes.optim.laprop`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """n ← νn + (1 - ν)g²; m ← μm + (1 - μ)g / (√n̂ + ε); w ← w - lr·m̂."""
    step_size, beta1, weight1, beta2, weight2, eps = scalars
    exp_avg_sq = beta2 * state[1] + weight2 * grad * grad
    exp_avg = beta1 * state[0] + divide(weight1 * grad, square_root(exp_avg_sq) + eps)
    return param - step_size * exp_avg, (exp_avg, exp_avg_sq)


@triton.jit
def scalars(step, hyper):
    """The bias corrections, in fp64."""
    lr, beta1, beta2, eps = hyper
    bias_correction2_sqrt = tl.sqrt(1 - power(beta2, step))
    weight1 = (1 - beta1) * bias_correction2_sqrt
    return lr / (1 - power(beta1, step)), beta1, weight1, beta2, 1 - beta2, eps * bias_correction2_sqrt
