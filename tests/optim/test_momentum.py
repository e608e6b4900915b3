"""The three forms of Momentum: against NumPy, against each other, and against an explicit look-ahead."""

import numpy as np
import pytest
import torch

from torchopt_notes import SGD, Momentum

FORMS = ["heavy-ball", "ema", "velocity"]
MU = 0.9


def numpy_step(form, nesterov, w, v, g, lr):
    """The docstring's equations, in float64."""
    if form == "velocity":
        v = MU * v - lr * g
        return (w + MU * v - lr * g if nesterov else w + v), v
    weight = 1.0 if form == "heavy-ball" else 1 - MU
    v = MU * v + weight * g
    return w - lr * ((weight * g + MU * v) if nesterov else v), v


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_against_numpy(form, nesterov):
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=20), np.zeros(20)
    param = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = Momentum([param], lr=0.1, momentum=MU, form=form, nesterov=nesterov, backend="eager")
    for step in range(1, 8):
        lr, g = 0.1 / step, rng.normal(size=20)
        optimizer.param_groups[0]["lr"] = lr
        param.grad = torch.from_numpy(g)
        optimizer.step()
        w, v = numpy_step(form, nesterov, w, v, g, lr)
        np.testing.assert_allclose(param.detach().numpy(), w, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(optimizer.state[param]["momentum_buffer"].numpy(), v, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_nesterov_is_an_explicit_look_ahead(form):
    """The notes take the gradient at w - ημv (velocity: w + μv). Ours keeps that point; the two must coincide."""
    curvature = torch.linspace(0.1, 2, 5, dtype=torch.float64)
    lr = 0.05
    w, v = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    param = torch.nn.Parameter(w.clone())
    optimizer = Momentum([param], lr=lr, momentum=MU, form=form, nesterov=True, backend="eager")
    for _ in range(30):
        ahead = w + MU * v if form == "velocity" else w - lr * MU * v
        torch.testing.assert_close(param.detach(), ahead, rtol=1e-12, atol=1e-14)
        g = curvature * ahead
        if form == "velocity":
            v = MU * v - lr * g
            w = w + v
        else:
            v = MU * v + (1 if form == "heavy-ball" else 1 - MU) * g
            w = w - lr * v
        param.grad = curvature * param.detach()
        optimizer.step()


def _run(form, schedule, steps=6):
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = Momentum([param], lr=0.1, form=form, backend="eager")
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = schedule(step)
        param.grad = 2 * param.detach()
        optimizer.step()
    return param.detach()


def test_velocity_and_heavy_ball_part_when_the_learning_rate_changes():
    torch.testing.assert_close(_run("velocity", lambda _: 0.1), _run("heavy-ball", lambda _: 0.1))
    changing = lambda step: 0.1 / (1 + step)  # noqa: E731
    assert (_run("velocity", changing) - _run("heavy-ball", changing)).abs().max() > 1e-3


def test_dampening_is_not_the_moving_average():
    param = torch.nn.Parameter(torch.ones(1))
    param.grad = torch.ones(1)
    SGD([param], lr=0.1, momentum=MU, dampening=1 - MU).step()
    assert param.item() == pytest.approx(0.9)  # ema would give 0.99


def test_a_form_per_group():
    params = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = Momentum([{"params": params[:1]}, {"params": params[1:], "form": "ema"}], lr=0.1)
    for param in params:
        param.grad = torch.ones(1)
    optimizer.step()
    assert [round(param.item(), 6) for param in params] == [0.9, 0.99]
