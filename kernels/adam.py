"""Adam and AdamW: ``torchopt_notes.optim.adam`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β₁)(g - m); v ← β₂v + (1 - β₂)g²; w ← w - step_size·m / (√v / √(1 - β₂ᵗ) + ε)."""
    step_size, weight1, beta2, weight2, bias_correction2_sqrt, eps = scalars
    AMSGRAD: tl.constexpr = FLAGS[0]
    exp_avg = state[0] + weight1 * (grad - state[0])
    exp_avg_sq = beta2 * state[1] + weight2 * grad * grad
    if AMSGRAD:
        # A NaN must survive: it tells the user that training has broken down.
        max_exp_avg_sq = tl.maximum(state[2], exp_avg_sq, propagate_nan=tl.PropagateNan.ALL)
        param -= divide(step_size * exp_avg, divide(square_root(max_exp_avg_sq), bias_correction2_sqrt) + eps)
        return param, (exp_avg, exp_avg_sq, max_exp_avg_sq)
    else:
        param -= divide(step_size * exp_avg, divide(square_root(exp_avg_sq), bias_correction2_sqrt) + eps)
        return param, (exp_avg, exp_avg_sq)


@triton.jit
def scalars(step, hyper):
    """The bias corrections, in fp64: 1 - β₂ᵗ loses most of fp32's digits at the first steps."""
    lr, beta1, beta2, eps, corrected = hyper
    bias_correction1 = 1 - corrected * power(beta1, step)
    bias_correction2 = 1 - corrected * power(beta2, step)
    return lr / bias_correction1, 1 - beta1, beta2, 1 - beta2, tl.sqrt(bias_correction2), eps
