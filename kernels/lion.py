"""Lion: ``torchopt_notes.optim.sign`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def sign(x):
    """-1, 0 or 1; a NaN survives, as it is neither above nor below zero."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x))


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """w ← w - lr·sign(β₁m + (1 - β₁)g); m ← β₂m + (1 - β₂)g."""
    lr, beta1, weight1, weight2 = scalars
    param -= lr * sign(beta1 * state[0] + weight1 * grad)
    return param, (state[0] + weight2 * (grad - state[0]),)


@triton.jit
def scalars(step, hyper):
    """1 - β, in fp64."""
    lr, beta1, beta2 = hyper
    return lr, beta1, 1 - beta1, 1 - beta2
