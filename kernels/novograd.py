"""NovoGrad: ``torchopt_notes.optim.novograd`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """‖g‖²."""
    return (grad * grad,)


@triton.jit
def finish(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """v ← β₂v + (1 - β₂)‖g‖²; the update multiplies with 1 / (√v + ε)."""
    exp_avg_sq = scalars[3] * state[0] + scalars[4] * sums[0]
    return (1 / (tl.sqrt(exp_avg_sq) + scalars[5]),), (exp_avg_sq,)


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← β₁m + g / (√v + ε) + λw; w ← w - lr·m."""
    lr, beta1, grad_weight = scalars[0:3]
    weight_decay = scalars[6]
    scale = scalars[7]
    DECAY: tl.constexpr = FLAGS[0]
    scaled = scale * grad
    if DECAY:
        scaled += weight_decay * param
    exp_avg = beta1 * state[0] + grad_weight * scaled
    return param - lr * exp_avg, (exp_avg,)


@triton.jit
def scalars(step, hyper):
    """The running norm starts as the first gradient's."""
    lr, beta1, beta2, eps, weight_decay, averaged = hyper
    beta2 = tl.where(step == 1, 0.0, beta2)
    return lr, beta1, 1 - averaged * beta1, beta2, 1 - beta2, eps, weight_decay
