"""LAMB: ``torchopt_notes.optim.lamb`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, power, square_root


@triton.jit
def advance(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β₁)(g - m); v ← β₂v + (1 - β₂)g²."""
    weight1, beta2, weight2 = scalars[1:4]
    return state[0] + weight1 * (grad - state[0]), beta2 * state[1] + weight2 * grad * grad


@triton.jit
def direction(param, state, scalars, FLAGS: tl.constexpr):
    """u = m̂ / (√v̂ + ε) + λw."""
    correction1, correction2_sqrt, eps, weight_decay = scalars[4:8]
    DECAY: tl.constexpr = FLAGS[1]
    update = divide(correction1 * state[0], square_root(state[1]) * correction2_sqrt + eps)
    if DECAY:
        update += weight_decay * param
    return update


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """‖w‖² and ‖u‖²."""
    update = direction(param, state, scalars, FLAGS)
    return param * param, update * update


@triton.jit
def finish(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """The trust ratio φ(‖w‖) / ‖u‖, 1 where either is zero."""
    ADAPT: tl.constexpr = FLAGS[0]
    CLAMP: tl.constexpr = FLAGS[2]
    TRUST_CLIP: tl.constexpr = FLAGS[3]
    ratio = 1.0 + 0.0 * numel
    if ADAPT:
        weight_norm = tl.sqrt(sums[0])
        if CLAMP:
            weight_norm = tl.minimum(weight_norm, scalars[8], propagate_nan=tl.PropagateNan.ALL)
        update_norm = tl.sqrt(sums[1])
        ratio = tl.where((weight_norm == 0) | (update_norm == 0), 1.0, weight_norm / update_norm)
        if TRUST_CLIP:
            ratio = tl.minimum(ratio, 1.0, propagate_nan=tl.PropagateNan.ALL)
    return (ratio,), ()


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """w ← w - lr·ratio·u."""
    lr = scalars[0]
    ratio = scalars[len(scalars) - 1]
    return param - lr * ratio * direction(param, state, scalars, FLAGS), state


@triton.jit
def scalars(step, hyper):
    """The bias corrections, in fp64."""
    lr, beta1, beta2, eps, weight_decay, clamp_value, corrected = hyper
    correction1 = 1 / (1 - corrected * power(beta1, step))
    correction2_sqrt = 1 / tl.sqrt(1 - corrected * power(beta2, step))
    return lr, 1 - beta1, beta2, 1 - beta2, correction1, correction2_sqrt, eps, weight_decay, clamp_value
