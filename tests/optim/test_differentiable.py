"""What autograd learns of a step beyond its gradients."""

import pytest
import torch

from torchopt_notes import LAMB, LARS, NovoGrad, StableAdamW


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("optimizer_class", [LAMB, LARS, NovoGrad, StableAdamW])
def test_autograd_follows_the_decay(optimizer_class, decoupled):
    """Against a difference quotient."""

    def end(weight_decay):
        torch.manual_seed(0)
        weight = torch.randn(5, dtype=torch.float64).requires_grad_().clone()
        options = {"weight_decay": weight_decay, "decoupled_weight_decay": decoupled, "differentiable": True}
        optimizer = optimizer_class([weight], lr=0.1, **options)
        for _ in range(2):
            weight.grad = torch.randn(5, dtype=torch.float64)
            optimizer.step()
        return weight.sum()

    weight_decay, small = torch.tensor(0.1, dtype=torch.float64, requires_grad=True), 1e-6
    end(weight_decay).backward()
    slope = (end(0.1 + small) - end(0.1 - small)) / (2 * small)
    torch.testing.assert_close(weight_decay.grad, slope.detach(), rtol=1e-6, atol=1e-9)
