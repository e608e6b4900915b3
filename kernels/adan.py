"""Adan: ``torchopt_notes.optim.adan`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """Averages of g, of its change d and of (g + β₂d)²; the step is along the first two, each with its own size."""
    grad_size, diff_size, weight1, weight2, look_ahead, beta3, weight3, bias_correction3, eps = scalars
    change = grad - state[3]
    exp_avg = state[0] + weight1 * (grad - state[0])
    exp_avg_diff = state[1] + weight2 * (change - state[1])
    ahead = grad + look_ahead * change
    exp_avg_sq = beta3 * state[2] + weight3 * ahead * ahead
    denom = square_root(divide(exp_avg_sq, bias_correction3)) + eps
    param -= divide(grad_size * exp_avg, denom)
    param -= divide(diff_size * exp_avg_diff, denom)
    return param, (exp_avg, exp_avg_diff, exp_avg_sq, grad)


@triton.jit
def scalars(step, hyper):
    """The bias corrections and what sets the first step apart, in fp64."""
    lr, beta1, beta2, beta3, eps = hyper
    later = tl.where(step == 1, 0.0, 1.0)
    grad_size = lr / (1 - power(beta1, step))
    diff_size = lr * beta2 / (1 - power(beta2, step))
    bias_correction3 = 1 - power(beta3, step)
    return grad_size, diff_size, 1 - beta1, (1 - beta2) * later, beta2 * later, beta3, 1 - beta3, bias_correction3, eps
