"""NAdam: ``torchopt_notes.optim.nadam`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """Adam's averages; the step is along the gradient and the average, each with its own size."""
    grad_size, average_size, weight1, beta2, weight2, bias_correction2, eps = scalars[1:]
    exp_avg = state[0] + weight1 * (grad - state[0])
    exp_avg_sq = beta2 * state[1] + weight2 * grad * grad
    denom = square_root(divide(exp_avg_sq, bias_correction2)) + eps
    param -= divide(grad_size * grad + average_size * exp_avg, denom)
    return param, (exp_avg, exp_avg_sq)


@triton.jit
def scalars(step, hyper):
    """The product of the momentum coefficients so far, then what follows from it, in fp64."""
    mu_product, lr, beta1, beta2, eps, momentum_decay, corrected = hyper
    mu = beta1 * (1.0 - 0.5 * power(0.96, step * momentum_decay))
    mu_next = beta1 * (1.0 - 0.5 * power(0.96, (step + 1) * momentum_decay))
    mu_product *= mu
    product = corrected * mu_product
    grad_size = lr * (1.0 - mu) / (1.0 - product)
    average_size = lr * mu_next / (1.0 - product * mu_next)
    bias_correction2 = 1 - corrected * power(beta2, step)
    return mu_product, grad_size, average_size, 1 - beta1, beta2, 1 - beta2, bias_correction2, eps
