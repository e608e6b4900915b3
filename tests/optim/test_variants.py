"""Forms of torch's rules that torch does not have: float64 NumPy from their formulas, on each backend at hand."""

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import Adagrad, Adam, Adamax, NAdam, RAdam, RMSprop

STEPS = 8
LR, EPS, B1, B2 = 0.05, 1e-2, 0.8, 0.95


def averages(grads, w, beta1=B1, beta2=B2):
    """Both moments after each step, biased as they are."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        yield g, m, v


def adam(w, grads):
    for _, m, v in averages(grads, w):
        w = w - LR * m / (np.sqrt(v) + EPS)
        yield w


def nadam(w, grads):
    """The momentum coefficients have their schedule, and no product of them corrects the averages."""
    for t, (g, m, v) in enumerate(averages(grads, w), 1):
        mu, following = (B1 * (1 - 0.5 * 0.96 ** (k * 4e-3)) for k in (t, t + 1))
        w = w - LR * ((1 - mu) * g + following * m) / (np.sqrt(v) + EPS)
        yield w


def adamax(w, grads):
    m, u = np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        m, u = B1 * m + (1 - B1) * g, np.maximum(B2 * u, np.abs(g) + EPS)
        w = w - LR * m / u
        yield w


def radam(w, grads):
    """The rectification depends on the step alone; what it scales is not corrected."""
    longest = 2 / (1 - B2) - 1
    for t, (_, m, v) in enumerate(averages(grads, w), 1):
        length = longest - 2 * t * B2**t / (1 - B2**t)
        if length > 5:
            r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            w = w - LR * r * m / (np.sqrt(v) + EPS)
        else:
            w = w - LR * m
        yield w


def adagrad(w, grads):
    total = np.zeros_like(w)
    for g in grads:
        total = total + g * g
        w = w - LR * g / np.sqrt(total + EPS)
        yield w


def rmsprop(w, grads):
    v = np.zeros_like(w)
    for g in grads:
        v = B2 * v + (1 - B2) * g * g
        w = w - LR * g / np.sqrt(v + EPS)
        yield w


MOMENTS = {"lr": LR, "betas": (B1, B2), "eps": EPS}
VARIANTS = [
    (Adam, MOMENTS, {"bias_correction": False}, adam),
    (NAdam, MOMENTS, {"bias_correction": False}, nadam),
    (Adamax, MOMENTS, {"bias_correction": False}, adamax),
    (RAdam, MOMENTS, {"bias_correction": False}, radam),
    (Adagrad, {"lr": LR, "eps": EPS}, {"eps_inside_sqrt": True}, adagrad),
    (RMSprop, {"lr": LR, "alpha": B2, "eps": EPS}, {"eps_inside_sqrt": True}, rmsprop),
]


def path(optimizer, start, grads, **options):
    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    made = optimizer([param], **options)
    for g in grads:
        param.grad = torch.from_numpy(g.copy())
        made.step()
        yield param.detach().clone().numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("optimizer", "arguments", "variant", "formula"), VARIANTS, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_formula(optimizer, arguments, variant, formula, backend):
    random = np.random.default_rng(0)
    start, grads = random.standard_normal(37), list(random.standard_normal((STEPS, 37)))
    expected = list(formula(start, grads))
    found = list(path(optimizer, start, grads, **arguments, **variant, backend=backend))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    plain = list(path(optimizer, start, grads, **arguments, backend="eager"))
    assert np.abs(np.subtract(plain, expected)).max() > 1e-3
