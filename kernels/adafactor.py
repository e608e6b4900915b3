"""Adafactor for vectors, and what it shares with the factored form: ``torchopt_notes.optim.adafactor`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import inverse, square_root


@triton.jit
def least(scalars, FLAGS: tl.constexpr):
    """ε₁, or the machine epsilon of the dtype that is named in its place. The other one is zero."""
    # Not the constant alone: with it folded into what follows, the registers do not suffice on some targets.
    if FLAGS[1] == "float16":
        return scalars[3] + 2.0**-10
    elif FLAGS[1] == "bfloat16":
        return scalars[3] + 2.0**-7
    elif FLAGS[1] == "float32":
        return scalars[3] + 2.0**-23
    elif FLAGS[1] == "float64":
        return scalars[3] + 2.0**-52
    else:
        return scalars[3]


@triton.jit
def direction(grad, variance, scalars, FLAGS: tl.constexpr):
    """u = g / √max(v, ε₁²)."""
    eps1 = least(scalars, FLAGS)
    return grad * inverse(square_root(tl.maximum(variance, eps1 * eps1, propagate_nan=tl.PropagateNan.ALL)))


@triton.jit
def step(param, grad, variance, scalars, FLAGS: tl.constexpr):
    """w ← decay·w - step·u."""
    DECAY: tl.constexpr = FLAGS[0]
    if DECAY:
        param *= scalars[2]
    return param - scalars[6] * direction(grad, variance, scalars, FLAGS)


@triton.jit
def advance(param, grad, state, scalars, FLAGS: tl.constexpr):
    """v ← v + weight·(g² - v)."""
    return (state[0] + scalars[0] * (grad * grad - state[0]),)


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """‖w‖² and ‖u‖²."""
    update = direction(grad, state[0], scalars, FLAGS)
    return param * param, update * update


@triton.jit
def finish(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """The step α / max(1, RMS(u)/d), with α = max(ε₂, RMS(w))·ρ. A NaN is nobody's maximum, as in torch."""
    rho = scalars[1]
    eps2 = scalars[4]
    d = scalars[5]
    share = 1 / tl.maximum(numel, 1.0)
    weight_rms = tl.sqrt(sums[0] * share)
    update_rms = tl.sqrt(sums[1] * share)
    alpha = tl.where(weight_rms > eps2, weight_rms, eps2) * rho
    return (alpha * d / tl.where(update_rms > d, update_rms, d),), ()


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """The step along u."""
    return step(param, grad, state[0], scalars, FLAGS), state


@triton.jit
def scalars(step, hyper):
    """The weight of a new gradient and the relative step size, in fp64."""
    lr, beta2_decay, eps1, eps2, d, weight_decay = hyper
    rho = tl.minimum(lr, 1 / tl.sqrt(step))
    return tl.exp(beta2_decay * tl.log(step)), rho, 1 - lr * weight_decay, eps1, eps2, d
