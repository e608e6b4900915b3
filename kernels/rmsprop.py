"""RMSprop: ``torchopt_notes.optim.rmsprop`` in Triton."""

import triton
import triton.language as tl

from .arithmetic import divide, square_root


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """v ← α·v + (1 - α)·g²; w ← w - lr·g / (√v + ε); centered takes the mean's square off v."""
    lr, alpha, weight, eps, momentum = scalars
    MOMENTUM: tl.constexpr = FLAGS[0]
    CENTERED: tl.constexpr = FLAGS[1]
    EPS_INSIDE_SQRT: tl.constexpr = FLAGS[2]
    square_avg = alpha * state[0] + weight * grad * grad
    variance = square_avg
    new_state = (square_avg,)
    if CENTERED:
        grad_avg = state[1] + weight * (grad - state[1])
        variance = square_avg - grad_avg * grad_avg
        new_state = new_state + (grad_avg,)
    if EPS_INSIDE_SQRT:
        root = square_root(variance + eps)
    else:
        root = square_root(variance) + eps
    if MOMENTUM:
        buffer = momentum * state[len(state) - 1] + divide(grad, root)
        param -= lr * buffer
        new_state = new_state + (buffer,)
    else:
        param -= divide(lr * grad, root)
    return param, new_state


@triton.jit
def scalars(step, hyper):
    """1 - α, in fp64."""
    lr, alpha, eps, momentum = hyper
    return lr, alpha, 1 - alpha, eps, momentum
