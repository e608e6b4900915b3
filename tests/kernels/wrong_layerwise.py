"""Layer-wise rules with one mistake each: what the comparison must notice."""

import triton
import triton.language as tl


@triton.jit
def inverted(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """LAMB's ratio, upside down."""
    return (tl.sqrt(sums[1]) / tl.sqrt(sums[0]),), ()


@triton.jit
def without_roots(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """LAMB's ratio of the norms' squares."""
    return (sums[0] / sums[1],), ()


@triton.jit
def decay_measured(param, grad, state, scalars, FLAGS: tl.constexpr):
    """LARS with the norm of g + λw."""
    grad += scalars[2] * param
    return param * param, grad * grad


@triton.jit
def one_step_late(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """NovoGrad divided by the norm of the step before."""
    return (tl.sqrt(state[0]) + scalars[5],), (scalars[3] * state[0] + scalars[4] * sums[0],)


@triton.jit
def not_a_mean(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """StableAdamW with the norm in place of the root mean square."""
    return (scalars[0] / tl.maximum(tl.sqrt(sums[0]), 1.0),), ()


@triton.jit
def unlimited(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """Adafactor without its limit on the update."""
    weight_rms = tl.sqrt(sums[0] / numel)
    return (tl.where(weight_rms > scalars[4], weight_rms, scalars[4]) * scalars[1],), ()
