"""Adam and SGD with one mistake each: what the comparison must notice."""

import triton
import triton.language as tl
from torchopt_notes.kernels import adam


@triton.jit
def eps_inside(param, grad, state, scalars, FLAGS: tl.constexpr):
    step_size, weight1, beta2, weight2, root, eps = scalars
    m = state[0] + weight1 * (grad - state[0])
    v = beta2 * state[1] + weight2 * grad * grad
    return param - step_size * m / (tl.sqrt(v + eps) / root), (m, v)


@triton.jit
def one_step_late(param, grad, state, scalars, FLAGS: tl.constexpr):
    step_size, weight1, beta2, weight2, root, eps = scalars
    m = state[0] + weight1 * (grad - state[0])
    v = beta2 * state[1] + weight2 * grad * grad
    return param - step_size * state[0] / (tl.sqrt(v) / root + eps), (m, v)


@triton.jit
def states_swapped(param, grad, state, scalars, FLAGS: tl.constexpr):
    new_param, new_state = adam.update(param, grad, state, scalars, FLAGS)
    return new_param, (new_state[1], new_state[0])


@triton.jit
def buffer_forgotten(param, grad, state, scalars, FLAGS: tl.constexpr):
    lr, buffer_decay, grad_weight = scalars[0], scalars[1], scalars[2]
    return param - lr * grad, (buffer_decay * state[0] + grad_weight * grad,)


@triton.jit
def uphill(param, grad, state, scalars, FLAGS: tl.constexpr):
    lr, buffer_decay, grad_weight = scalars[0], scalars[1], scalars[2]
    buffer = buffer_decay * state[0] + grad_weight * grad
    return param + lr * buffer, (buffer,)
