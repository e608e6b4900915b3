"""AdEMAMix: ``torchopt_notes.optim.ademamix`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """Adam's averages and a slow one; the step is along the fast and the slow average, each with its own size."""
    fast_size, slow_size, weight1, beta2, weight2, weight3, bias_correction2, eps = scalars
    exp_avg = state[0] + weight1 * (grad - state[0])
    exp_avg_slow = state[1] + weight3 * (grad - state[1])
    exp_avg_sq = beta2 * state[2] + weight2 * grad * grad
    denom = square_root(divide(exp_avg_sq, bias_correction2)) + eps
    param -= divide(fast_size * exp_avg, denom)
    param -= divide(slow_size * exp_avg_slow, denom)
    return param, (exp_avg, exp_avg_slow, exp_avg_sq)


@triton.jit
def scalars(step, hyper):
    """The schedules of α, from 0, and of β₃, from β₁, in fp64."""
    lr, beta1, beta2, beta3, eps, alpha, t_alpha, t_beta3 = hyper
    start = tl.minimum(tl.log(beta3) / tl.log(beta1), 1.0)
    progress = tl.minimum(step / t_beta3, 1.0)
    beta3 = power(beta3, 1 / (progress + (1 - progress) * start))
    fast_size = lr / (1 - power(beta1, step))
    slow_size = lr * alpha * tl.minimum(step / t_alpha, 1.0)
    return fast_size, slow_size, 1 - beta1, beta2, 1 - beta2, 1 - beta3, 1 - power(beta2, step), eps
