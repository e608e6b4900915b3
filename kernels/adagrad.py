"""Adagrad: ``torchopt_notes.optim.adagrad`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """G ← G + g²; w ← w - lr·g / (√G + ε), or with the ε inside the root."""
    lr, eps = scalars
    EPS_INSIDE_SQRT: tl.constexpr = FLAGS[0]
    total = state[0] + grad * grad
    if EPS_INSIDE_SQRT:
        root = square_root(total + eps)
    else:
        root = square_root(total) + eps
    param -= divide(lr * grad, root)
    return param, (total,)


@triton.jit
def scalars(step, hyper):
    """The learning rate of this step."""
    lr, lr_decay, eps = hyper
    return lr / (1 + (step - 1) * lr_decay), eps
