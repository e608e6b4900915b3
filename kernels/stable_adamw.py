"""StableAdamW: ``torchopt_notes.optim.stable_adamw`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def advance(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + weight₁(g - m); u ← β₂u + weight₂g²."""
    weight1, beta2, weight2 = scalars[1:4]
    return state[0] + weight1 * (grad - state[0]), beta2 * state[1] + weight2 * grad * grad


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """g² / max(u, ε²)."""
    return (divide(grad * grad, tl.maximum(state[1], scalars[5], propagate_nan=tl.PropagateNan.ALL)),)


@triton.jit
def finish(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """The layer's learning rate, lr / max(1, RMS)."""
    rms = tl.sqrt(sums[0] / tl.maximum(numel, 1.0))
    return (scalars[0] / tl.maximum(rms, 1.0, propagate_nan=tl.PropagateNan.ALL),), ()


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """w ← w - lr·λw - lr·m / (√u + ε)."""
    eps = scalars[4]
    weight_decay = scalars[6]
    lr = scalars[7]
    DECAY: tl.constexpr = FLAGS[0]
    if DECAY:
        param *= 1 - lr * weight_decay
    return param - divide(lr * state[0], square_root(state[1]) + eps), state


@triton.jit
def scalars(step, hyper):
    """The weights of a new gradient in averages that are kept free of bias, in fp64."""
    lr, beta1, beta2, eps, weight_decay, corrected = hyper
    weight1 = (1 - beta1) / (1 - corrected * power(beta1, step))
    weight2 = (1 - beta2) / (1 - corrected * power(beta2, step))
    return lr, weight1, 1 - weight2, weight2, eps, eps * eps, weight_decay
