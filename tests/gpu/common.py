"""Parameters, gradients and runs that the tests of this folder share."""

import torch

DEVICE = "cuda"

SHAPES = ((), (1,), (63,), (17, 31), (2, 3, 4, 5), (0,), (1023,), (1024,), (1025,), (2 * 1024 + 7,))
"""Around a block of 1024, and no multiple of a vector."""


def make_params(shapes=SHAPES, *, seed=0, dtype=torch.float32, device=None):
    """Equal on every device."""
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [torch.nn.Parameter(value.to(device or DEVICE)) for value in values]


def make_gradients(params, seed):
    """New tensors, equal on every device."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randn(p.shape, generator=generator).to(p.dtype).to(p.device) for p in params]


def set_gradients(params, seed):
    for param, gradient in zip(params, make_gradients(params, seed), strict=True):
        param.grad = gradient


def take_steps(optimizer, params, seeds):
    for seed in seeds:
        set_gradients(params, seed)
        optimizer.step()


def numbers(optimizer):
    """Every parameter, and every state tensor, of an optimizer."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    states = [optimizer.state.get(param, {}) for param in params]
    return [*params, *(state[name] for state in states for name in sorted(state) if state[name] is not None)]


def assert_same_bits(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


def assert_close(actual, expected, *, rtol=1e-5, atol=1e-6):
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.detach().cpu(), b.detach().cpu(), rtol=rtol, atol=atol)


def mixed_params(count, dtype=torch.float32):
    params = [torch.nn.Parameter(torch.randn(1 + 37 * i % 5000, device=DEVICE).to(dtype)) for i in range(count)]
    for param in params:
        param.grad = torch.ones_like(param)
    return params
