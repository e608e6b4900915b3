"""RAdam on both sides of its threshold."""

from itertools import pairwise

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import RAdam
from torchopt_notes.optim.radam import radam_scalars

HYPER = (0.1, 0.9, 0.999, 1e-8, 1.0)


def test_the_rectification_starts_at_the_sixth_step():
    rects = [radam_scalars(float(step), *HYPER).rect for step in range(1, 9)]
    assert rects[:5] == [0.0] * 5
    assert all(0 < a < b < 0.05 for a, b in pairwise(rects[5:]))
    assert radam_scalars(1e6, *HYPER).rect == pytest.approx(1)


@pytest.mark.parametrize("beta2", [0.0, 0.6, 0.9, 0.999])
def test_the_numbers_are_the_same_from_tensors(beta2):
    """At β₂ = 0.6 the rectification's denominator is zero; what comes of it must not show."""
    for step in (1.0, 5.0, 6.0, 1000.0):
        hyper = (0.1, 0.9, beta2, 1e-8, 1.0)
        numbers = radam_scalars(step, *hyper)
        tensors = radam_scalars(torch.tensor(step, dtype=torch.float64), *hyper)
        assert [float(value) for value in tensors] == pytest.approx(list(numbers), rel=1e-12)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_against_the_equations(backend, capturable):
    """Zero gradients among them: before the threshold nothing is divided by their root."""
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = RAdam([param], lr=0.1, eps=1e-300, backend=backend, capturable=capturable)
    w, m, v = (torch.full((3,), start, dtype=torch.float64) for start in (1.0, 0.0, 0.0))
    for t in range(1, 10):
        gradient = torch.tensor([float(t), -1.0, 1.0 if t > 5 else 0.0], dtype=torch.float64)
        param.grad = gradient.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rho = 1999 - 2 * t * 0.999**t / (1 - 0.999**t)
        step = m / (1 - 0.9**t)
        if rho > 5:
            rect = ((rho - 4) * (rho - 2) * 1999 / (1995 * 1997 * rho)) ** 0.5
            step = step * rect / (v / (1 - 0.999**t)).sqrt()
        w = w - 0.1 * step
        torch.testing.assert_close(param.detach(), w, rtol=1e-9, atol=0)
