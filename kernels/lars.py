"""LARS: ``torchopt_notes.optim.lars`` in Triton."""

import triton
import triton.language as tl


@triton.jit
def measure(param, grad, state, scalars, FLAGS: tl.constexpr):
    """‖w‖² and ‖g‖², without the decay."""
    return param * param, grad * grad


@triton.jit
def finish(sums, numel, state, scalars, FLAGS: tl.constexpr):
    """The layer's learning rate lr·κ‖w‖ / (‖g‖ + λ‖w‖ + ε), plain lr where a norm is zero."""
    lr, _, weight_decay, trust_coefficient, eps = scalars
    ADAPT: tl.constexpr = FLAGS[0]
    local_lr = lr
    if ADAPT:
        weight_norm = tl.sqrt(sums[0])
        grad_norm = tl.sqrt(sums[1])
        ratio = trust_coefficient * weight_norm / (grad_norm + weight_decay * weight_norm + eps)
        local_lr = lr * tl.where((weight_norm == 0) | (grad_norm == 0), 1.0, ratio)
    return (local_lr,), ()


@triton.jit
def update(param, grad, state, scalars, FLAGS: tl.constexpr):
    """v ← μv + η(g + λw); w ← w - v, or w - (η(g + λw) + μv) with Nesterov's look-ahead."""
    momentum = scalars[1]
    weight_decay = scalars[2]
    local_lr = scalars[5]
    DECAY: tl.constexpr = FLAGS[1]
    MOMENTUM: tl.constexpr = FLAGS[2]
    NESTEROV: tl.constexpr = FLAGS[3]
    if DECAY:
        grad += weight_decay * param
    step = local_lr * grad
    if MOMENTUM:
        buffer = momentum * state[0] + step
        if NESTEROV:
            param -= step + momentum * buffer
        else:
            param -= buffer
        return param, (buffer,)
    else:
        return param - step, ()


@triton.jit
def scalars(step, hyper):
    """The hyperparameters as they are."""
    return hyper
