"""AdaBelief: ``torchopt_notes.optim.adabelief`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β₁)(g - m); s ← β₂s + (1 - β₂)(g - m)² + ε; w ← w - step_size·m / (√ŝ + ε)."""
    step_size, weight1, beta2, weight2, correction2, eps = scalars
    exp_avg = state[0] + weight1 * (grad - state[0])
    surprise = grad - exp_avg
    exp_avg_var = beta2 * state[1] + weight2 * surprise * surprise + eps
    param -= divide(step_size * exp_avg, square_root(correction2 * exp_avg_var) + eps)
    return param, (exp_avg, exp_avg_var)


@triton.jit
def scalars(step, hyper):
    """The bias corrections, in fp64."""
    lr, beta1, beta2, eps, corrected = hyper
    bias_correction1 = 1 - corrected * power(beta1, step)
    correction2 = 1 / (1 - corrected * power(beta2, step))
    return lr / bias_correction1, 1 - beta1, beta2, 1 - beta2, correction2, eps
