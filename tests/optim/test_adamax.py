"""Adamax's largest gradient."""

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import Adamax


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_survives(backend, capturable):
    """In the gradient, in the state, and in steps that come later."""
    param = torch.nn.Parameter(torch.ones(4))
    optimizer = Adamax([param], lr=0.1, backend=backend, capturable=capturable)
    for gradient in ([float("nan"), 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 0.0]):
        param.grad = torch.tensor(gradient)
        optimizer.step()
    assert optimizer.state[param]["exp_inf"].isnan().tolist() == [True, False, False, False]
    assert param.isnan().tolist() == [True, False, False, False]
    assert optimizer.state[param]["exp_inf"][1:].tolist() == pytest.approx([1.0, 1.998, 1e-8])


def test_autograd_works_where_torch_loses_its_history():
    gradients = tuple(torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def last(lr, *gradients):
        param = torch.ones(4, dtype=torch.float64, requires_grad=True).clone()
        optimizer = Adamax([param], lr=lr, weight_decay=0.1, differentiable=True)
        for gradient in gradients:
            param.grad = gradient
            optimizer.step()
        return param

    assert torch.autograd.gradcheck(last, (lr, *gradients))
