"""ASGD's average, and the numbers that it carries from step to step."""

import copy

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import ASGD
from torchopt_notes.testing import assert_parity


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_average_is_the_mean_of_the_steps_after_t0(backend, capturable):
    param = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    optimizer = ASGD([param], lr=0.1, t0=3, backend=backend, capturable=capturable)
    path = []
    for _ in range(8):
        param.grad = torch.randn(5, dtype=torch.float64)
        optimizer.step()
        path.append(param.detach().clone())
        average = optimizer.state[param]["ax"]
        if len(path) <= 5:
            assert torch.equal(average, param)
        else:
            torch.testing.assert_close(average, torch.stack(path[4:]).mean(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_has_the_size_that_the_one_before_stored(backend, capturable):
    """Also where the stored numbers are in double precision, which need no conversion and so no copy."""
    torch.set_default_dtype(torch.float64)
    try:
        param = torch.nn.Parameter(torch.zeros(3))
        optimizer = ASGD([param], lr=0.5, lambd=0.1, backend=backend, capturable=capturable)
        w, eta = torch.zeros(3), 0.5
        for step in range(1, 5):
            optimizer.param_groups[0]["lr"] = lr = 0.5 / step
            eta = lr if step == 1 else eta
            param.grad = torch.ones(3)
            optimizer.step()
            w = (1 - 0.1 * eta) * w - eta
            eta = lr / (1 + 0.1 * lr * step) ** 0.75
            torch.testing.assert_close(param.detach(), w)
            assert optimizer.state[param]["eta"].item() == pytest.approx(eta)
    finally:
        torch.set_default_dtype(torch.float32)


def test_averaging_while_the_learning_rate_changes_gives_torchs_bits():
    kwargs = {"t0": 1, "lambd": 0.1}
    for lr_schedule in (lambda step: 0.1 / step, lambda step: torch.tensor(0.1 / step)):
        assert_parity(
            ASGD, torch.optim.ASGD, kwargs=kwargs, candidate_kwargs={"backend": "eager"}, lr_schedule=lr_schedule
        )


def test_checkpoints_that_torch_has_cast_give_torchs_bits():
    """torch casts η and μ of an fp64 parameter to fp64 when it loads them, and still rounds them as fp32."""
    results = []
    for classes in ([torch.optim.ASGD] * 4, [torch.optim.ASGD, ASGD] * 2):
        param = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        saved = None
        for optimizer_class in classes:
            optimizer = optimizer_class([param], lr=0.1, t0=2)
            if saved is not None:
                optimizer.load_state_dict(saved)
            for step in range(3):
                param.grad = torch.full((3,), 0.3 + step, dtype=torch.float64)
                optimizer.step()
            saved = copy.deepcopy(optimizer.state_dict())
        results.append((param.detach(), saved["state"][0]["ax"]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_autograd_follows_the_gradients_but_not_the_learning_rate():
    gradients = tuple(torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(4))
    lr = torch.tensor(0.1, requires_grad=True)

    def last(*gradients):
        param = torch.zeros(4, dtype=torch.float64, requires_grad=True).clone()
        optimizer = ASGD([param], lr=lr, t0=1, weight_decay=0.1, differentiable=True)
        for gradient in gradients:
            param.grad = gradient
            optimizer.step()
        return param

    assert torch.autograd.gradcheck(last, gradients)
    last(*gradients).sum().backward()
    assert lr.grad is None
