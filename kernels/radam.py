"""RAdam: ``torchopt_notes.optim.radam`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """Adam's averages; the step is along the first, and once there is a ``rect``, divided by the second's root."""
    lr, weight1, beta2, weight2, bias_correction1, bias_correction2_sqrt, rect, eps = scalars
    exp_avg = state[0] + weight1 * (grad - state[0])
    exp_avg_sq = beta2 * state[1] + weight2 * grad * grad
    scale = divide(rect * bias_correction2_sqrt, square_root(exp_avg_sq) + eps)
    param -= divide(exp_avg, bias_correction1) * lr * tl.where(rect > 0, scale, 1.0)
    return param, (exp_avg, exp_avg_sq)


@triton.jit
def scalars(step, hyper):
    """The bias corrections and the rectification, 0 where ρ is too small, in fp64."""
    lr, beta1, beta2, eps, corrected = hyper
    beta1_power = power(beta1, step)
    beta2_power = power(beta2, step)
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2_power / (1 - beta2_power)
    square = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    rect = tl.sqrt(tl.where(rho > 5, square, 0.0))
    bias_correction1 = 1 - corrected * beta1_power
    bias_correction2_sqrt = tl.sqrt(1 - corrected * beta2_power)
    return lr, 1 - beta1, beta2, 1 - beta2, bias_correction1, bias_correction2_sqrt, rect, eps
