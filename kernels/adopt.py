"""ADOPT: ``torchopt_notes.optim.adopt`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """m ← m + (1 - β₁)(clip(g / max(√v, ε)) - m); w ← w - lr·m; v ← β₂v + (1 - β₂)g²; the first step sets v = g²."""
    lr, weight1, beta2, weight2, eps, clip, first = scalars
    CLIP: tl.constexpr = FLAGS[0]
    # A NaN must survive: it tells the user that training has broken down.
    denom = tl.maximum(square_root(state[1]), eps, propagate_nan=tl.PropagateNan.ALL)
    direction = divide(grad, denom)
    if CLIP:
        direction = tl.maximum(direction, -clip, propagate_nan=tl.PropagateNan.ALL)
        direction = tl.minimum(direction, clip, propagate_nan=tl.PropagateNan.ALL)
    # Chosen, not multiplied: without a v, the quotient may be anything.
    direction = tl.where(first > 0, 0.0, direction)
    exp_avg = state[0] + weight1 * (direction - state[0])
    return param - lr * exp_avg, (exp_avg, beta2 * state[1] + weight2 * grad * grad)


@triton.jit
def scalars(step, hyper):
    """The limit of this step, and what sets the first one apart, in fp64."""
    lr, beta1, beta2, eps, clip_exponent = hyper
    first = tl.where(step == 1, 1.0, 0.0)
    clip = tl.exp(clip_exponent * tl.log(step - 1 + first))
    return lr, 1 - beta1, beta2, 1 - beta2 * (1 - first), eps, clip, first
