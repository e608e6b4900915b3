"""What the other tests of this folder have found, in its smallest form."""

import math

import pytest
import torch

from tests.backends import BACKENDS, HERE
from torchopt_notes import SGD, Adafactor


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_a_complex_infinite_first_gradient_enters_the_momentum_as_it_is(dampening, backend):
    """1 times inf + 0i has an imaginary part of NaN; torch's first buffer is a copy."""
    buffers = []
    for optimizer_class, options in ((SGD, {"backend": backend}), (torch.optim.SGD, {})):
        param = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
        optimizer = optimizer_class([param], lr=0.1, momentum=0.9, dampening=dampening, **options)
        param.grad = torch.tensor([complex(math.inf, 0), 1 + 2j, 3j])
        optimizer.step()
        buffers.append(optimizer.state[param]["momentum_buffer"])
    assert torch.equal(*buffers)


@pytest.mark.skipif("eager" not in HERE, reason="about the eager backend's bits")
def test_adafactors_threshold_is_rounded_together_with_the_count():
    """norm / (√n · d) and norm / √n / d differ in the last bit where neither √n nor d is a power of two."""
    generator = torch.Generator().manual_seed(0)
    differs = False
    for _ in range(200):
        start = torch.randn(3, 4, dtype=torch.float64, generator=generator)
        ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
        optimizers = [
            optimizer_class([param], eps=(1e-8, 1e-3), d=1.443359375, lr=0.5, **options)
            for optimizer_class, param, options in (
                (Adafactor, ours, {"backend": "eager"}),
                (torch.optim.Adafactor, theirs, {}),
            )
        ]
        for size in (0.1, 3.0):  # the second one is clipped
            ours.grad = torch.randn(3, 4, dtype=torch.float64, generator=generator) * size
            theirs.grad = ours.grad.clone()
            for optimizer in optimizers:
                optimizer.step()
        norm = ours.detach().norm().item()
        differs |= norm / (12**0.5 * 1.443359375) != norm / 12**0.5 / 1.443359375
        assert torch.equal(ours, theirs)
    assert differs
