"""Rprop: ``torchopt_notes.optim.rprop`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """s grows where the sign is the last one's and shrinks, with g ← 0, where it flips; w ← w - s·sign(g)."""
    eta_minus, eta_plus, smallest, largest = scalars
    product = grad * state[0]
    factor = tl.where(product > 0, eta_plus, tl.where(product < 0, eta_minus, 1.0))
    # A NaN that somebody put into the state must survive, as in the reference.
    step_size = tl.maximum(state[1] * factor, smallest, propagate_nan=tl.PropagateNan.ALL)
    step_size = tl.minimum(step_size, largest, propagate_nan=tl.PropagateNan.ALL)
    grad = tl.where(product < 0, 0.0, grad)
    param -= tl.where(grad > 0, 1.0, tl.where(grad < 0, -1.0, 0.0)) * step_size
    return param, (grad, step_size)


@triton.jit
def scalars(step, hyper):
    """Nothing depends on the step."""
    return hyper
