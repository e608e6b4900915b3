"""ASGD: ``torchopt_notes.optim.asgd`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """w ← (1 - λ·η)·w - η·g; ax ← ax + μ(w - ax), which is w itself while μ = 1."""
    shrink, step_size, weight = scalars[2:]
    param = shrink * param - step_size * grad
    average = tl.where(weight == 1, param, state[0] + (param - state[0]) * weight)
    return param, (average,)


@triton.jit
def scalars(step, hyper):
    """The step size and the average's weight for the next step, then what this one multiplies with, in fp64."""
    eta, mu, lr, lambd, alpha, t0 = hyper
    new_eta = lr * tl.exp(-alpha * tl.log(1 + lambd * lr * step))
    return new_eta, 1 / tl.maximum(step - t0, 1.0), 1 - lambd * eta, eta, mu
