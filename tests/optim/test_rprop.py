"""Rprop's signs: what grows, what shrinks, what stays."""

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import Rprop
from torchopt_notes.testing import assert_parity


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_signs_that_flip(backend, capturable):
    param = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = Rprop([param], lr=0.1, step_sizes=(0.04, 0.15), backend=backend, capturable=capturable)
    steps = [
        # gradient, step sizes, moves: same sign, flip, zero, and an underflow of the product
        ([3.0, 3.0, 3.0, 1e-200], [0.1, 0.1, 0.1, 0.1], [-0.1, -0.1, -0.1, -0.1]),
        ([1.0, -1.0, 0.0, -1e-200], [0.12, 0.05, 0.1, 0.1], [-0.12, 0, 0, 0.1]),
        # After a flip the next step keeps its size, whatever its sign.
        ([1.0, -1.0, -2.0, 1.0], [0.144, 0.05, 0.1, 0.05], [-0.144, 0.05, 0.1, 0]),
        ([1.0, 1.0, 2.0, -1.0], [0.15, 0.04, 0.05, 0.05], [-0.15, 0, 0, 0.05]),
    ]
    for gradient, sizes, moves in steps:
        before = param.detach().clone()
        param.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        assert optimizer.state[param]["step_size"].tolist() == pytest.approx(sizes)
        assert (param.detach() - before).tolist() == pytest.approx(moves)
        assert param.grad.tolist() == gradient


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_without_a_sign(backend):
    nan, inf = float("nan"), float("inf")
    gradients = [[nan, inf, 1.0, 0.0, nan], [1.0, inf, -inf, -0.0, -inf], [1.0, -1.0, 1.0, nan, 2.0]]
    results = []
    for optimizer_class, kwargs in ((Rprop, {"backend": backend}), (torch.optim.Rprop, {})):
        param = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
        optimizer = optimizer_class([param], lr=0.1, **kwargs)
        for gradient in gradients:
            param.grad = torch.tensor(gradient, dtype=torch.float64)
            optimizer.step()
        state = optimizer.state[param]
        results.append([param.detach(), state["step_size"], state["prev"]])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("lr", [torch.tensor(0.1), torch.tensor([0.1], dtype=torch.float64)])
def test_the_first_step_size_from_a_tensor(dtype, lr):
    assert_parity(Rprop, torch.optim.Rprop, kwargs={"lr": lr}, candidate_kwargs={"backend": "eager"}, dtype=dtype)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"etas": (0.5, 1.0)}, "Rprop: Invalid eta values: 0.5, 1.0; allowed are 0 < eta- < 1 < eta+"),
        ({"step_sizes": (1.0, 0.1)}, "Rprop: Invalid step_sizes: 1.0, 0.1"),
        ({"weight_decay": -1}, "Rprop: Invalid weight_decay value: -1"),
    ],
)
def test_values_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        Rprop([torch.nn.Parameter(torch.ones(1))], **kwargs)


def test_autograd_finds_that_a_sign_does_not_change():
    start = torch.randn(4, requires_grad=True)
    gradients = [torch.randn(4, requires_grad=True) for _ in range(4)]
    param = start.clone()
    optimizer = Rprop([param], differentiable=True)
    for gradient in gradients:
        param.grad = gradient
        optimizer.step()
    param.sum().backward()
    assert torch.equal(start.grad, torch.ones(4))
    assert all(torch.equal(gradient.grad, torch.zeros(4)) for gradient in gradients)
