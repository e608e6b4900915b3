"""The notes' worked example: L(w) = w², w₀ = 1, η = 0.1, β = 0.9, ε = 1e-8, worked out in exact arithmetic.

Two decimals printed in the notes are slips: Adagrad's second step is 0.8331, RMSprop's 0.4989.
"""

from decimal import Decimal, getcontext

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import SGD, Adagrad, Adam, AdamW, Momentum, RMSprop

getcontext().prec = 50
LR, BETA, EPS = Decimal("0.1"), Decimal("0.9"), Decimal("1e-8")


def gradient_descent(steps):
    w, path = Decimal(1), []
    for _ in range(steps):
        w -= LR * 2 * w
        path.append(w)
    return path


def momentum_ema(steps):
    w, v, path = Decimal(1), Decimal(0), []
    for _ in range(steps):
        v = BETA * v + (1 - BETA) * 2 * w
        w -= LR * v
        path.append(w)
    return path


def momentum_heavy_ball(steps):
    w, v, path = Decimal(1), Decimal(0), []
    for _ in range(steps):
        v = BETA * v + 2 * w
        w -= LR * v
        path.append(w)
    return path


def adam(steps):
    beta2 = Decimal("0.999")
    w, m, v, path = Decimal(1), Decimal(0), Decimal(0), []
    for t in range(1, steps + 1):
        g = 2 * w
        m = BETA * m + (1 - BETA) * g
        v = beta2 * v + (1 - beta2) * g * g
        w -= LR * (m / (1 - BETA**t)) / ((v / (1 - beta2**t)).sqrt() + EPS)
        path.append(w)
    return path


def adagrad(steps):
    w, total, path = Decimal(1), Decimal(0), []
    for _ in range(steps):
        g = 2 * w
        total += g * g
        w -= LR * g / (total.sqrt() + EPS)
        path.append(w)
    return path


def rmsprop(steps):
    w, v, path = Decimal(1), Decimal(0), []
    for _ in range(steps):
        g = 2 * w
        v = BETA * v + (1 - BETA) * g * g
        w -= LR * g / (v.sqrt() + EPS)
        path.append(w)
    return path


EXAMPLES = {
    "gd": (SGD, {}, gradient_descent, ["0.8", "0.64"]),
    "momentum-ema": (Momentum, {"form": "ema"}, momentum_ema, ["0.98", "0.9424"]),
    "momentum-heavy-ball": (Momentum, {"form": "heavy-ball"}, momentum_heavy_ball, ["0.8", "0.46"]),
    "momentum-velocity": (Momentum, {"form": "velocity"}, momentum_heavy_ball, ["0.8", "0.46"]),
    "sgd-momentum": (SGD, {"momentum": 0.9}, momentum_heavy_ball, ["0.8", "0.46"]),
    "adam": (Adam, {}, adam, ["0.9", "0.80041"]),
    "adamw": (AdamW, {"weight_decay": 0}, adam, ["0.9", "0.80041"]),
    "adagrad": (Adagrad, {"eps": 1e-8}, adagrad, ["0.9", "0.8331"]),
    "rmsprop": (RMSprop, {"alpha": 0.9}, rmsprop, ["0.6838", "0.4989"]),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_worked_example(name, backend):
    optimizer_class, kwargs, exact, printed = EXAMPLES[name]
    w = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = optimizer_class([w], lr=0.1, backend=backend, **kwargs)
    for expected in exact(5):
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
        assert abs(Decimal(w.item()) - expected) < Decimal("1e-14")
    for value, text in zip(exact(2), printed, strict=True):
        assert abs(value - Decimal(text)) < Decimal("0.00005")
