"""Gradient descent and momentum: ``torchopt_notes.optim.sgd`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """b ← decay·b + weight·g; w ← w - lr·b, or w - lr·(weight·g + μ·b) with Nesterov's look-ahead."""
    lr, buffer_decay, grad_weight, momentum = scalars
    MOMENTUM: tl.constexpr = FLAGS[0]
    NESTEROV: tl.constexpr = FLAGS[1]
    if MOMENTUM:
        buffer = buffer_decay * state[0] + grad_weight * grad
        if NESTEROV:
            param -= lr * (grad_weight * grad + momentum * buffer)
        else:
            param -= lr * buffer
        return param, (buffer,)
    else:
        param -= lr * grad
        return param, ()


@triton.jit
def scalars(step, hyper):
    """The first step takes the gradient whole."""
    lr, momentum, dampening = hyper
    first = step == 1
    return lr, tl.where(first, 0.0, momentum), tl.where(first, 1.0, 1 - dampening), momentum
