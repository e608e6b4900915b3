"""References like those of :mod:`tests.optim.papers`, for rules that measure a whole layer: ``w`` is one layer."""

import numpy as np

from tests.optim.papers import COUPLED, DECAY, Paper, before, rates
from torchopt_notes import LAMB, LARS, NovoGrad, StableAdamW


def coupled(w, g, weight_decay, decoupled_weight_decay, maximize):
    """The gradient, where the decoupled decay is the rule's own."""
    return before(w, g, 0.0, 0.0 if decoupled_weight_decay else weight_decay, False, maximize)[1]


def lamb(
    w,
    grads,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-6,
    weight_decay=0.01,
    decoupled_weight_decay=True,
    bias_correction=True,
    clamp_value=None,
    always_adapt=True,
    trust_clip=False,
    maximize=False,
):
    """You et al. 2020, algorithm 2, with φ(x) = min(x, clamp_value); 1 for a ratio that is not defined."""
    beta1, beta2 = betas
    m, v, path = np.zeros_like(w), np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        g = coupled(w, g, weight_decay, decoupled_weight_decay, maximize)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t) if bias_correction else m
        v_hat = v / (1 - beta2**t) if bias_correction else v
        r = m_hat / (np.sqrt(v_hat) + eps)
        if decoupled_weight_decay:
            r = r + weight_decay * w
        ratio = 1.0
        if weight_decay != 0 or always_adapt:
            phi = np.linalg.norm(w) if clamp_value is None else min(np.linalg.norm(w), clamp_value)
            if phi > 0 and r.any():
                ratio = phi / np.linalg.norm(r)
            if trust_clip:
                ratio = min(ratio, 1.0)
        w = w - eta * ratio * r
        path.append(w)
    return path


def lars(
    w,
    grads,
    lr,
    momentum=0.9,
    weight_decay=0,
    trust_coefficient=0.001,
    eps=0,
    nesterov=False,
    decoupled_weight_decay=False,
    maximize=False,
):
    """You et al. 2017, algorithm 1, whose β is our λ and whose η is our κ; 1 for a ratio that is not defined."""
    v, path = np.zeros_like(w), []
    for g, eta in zip(grads, rates(lr, grads), strict=True):
        form = weight_decay if decoupled_weight_decay else 0.0
        w, g = before(w, g, eta, form, True, maximize)
        decay = 0.0 if decoupled_weight_decay else weight_decay
        ratio = 1.0
        if w.any() and g.any():
            norm = np.linalg.norm(w)
            ratio = trust_coefficient * norm / (np.linalg.norm(g) + decay * norm + eps)
        step = eta * ratio * (g + decay * w)
        v = momentum * v + step
        w = w - (momentum * v + step if nesterov else v)
        path.append(w)
    return path


def novograd(
    w,
    grads,
    lr=1e-2,
    betas=(0.95, 0.98),
    eps=1e-8,
    weight_decay=0,
    decoupled_weight_decay=True,
    grad_averaging=False,
    maximize=False,
):
    """Ginsburg et al. 2019, algorithm 1, with ε at the first step too."""
    beta1, beta2 = betas
    m, v, path = np.zeros_like(w), None, []
    for g, eta in zip(grads, rates(lr, grads), strict=True):
        g = coupled(w, g, weight_decay, decoupled_weight_decay, maximize)
        size = (g**2).sum()
        v = size if v is None else beta2 * v + (1 - beta2) * size
        scaled = g / (np.sqrt(v) + eps)
        if decoupled_weight_decay:
            scaled = scaled + weight_decay * w
        m = beta1 * m + ((1 - beta1) * scaled if grad_averaging else scaled)
        w = w - eta * m
        path.append(w)
    return path


def stable_adamw(
    w,
    grads,
    lr=2e-3,
    betas=(0.9, 0.99),
    eps=1e-6,
    weight_decay=0.2,
    decoupled_weight_decay=True,
    bias_correction=True,
    maximize=False,
):
    """Wortsman et al. 2023, algorithm 2, whose v is the mean of gradients and whose u that of squares."""
    v, u, path = np.zeros_like(w), np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        g = coupled(w, g, weight_decay, decoupled_weight_decay, maximize)
        beta1, beta2 = (b * (1 - b ** (t - 1)) / (1 - b**t) if bias_correction else b for b in betas)
        v = beta1 * v + (1 - beta1) * g
        u = beta2 * u + (1 - beta2) * g**2
        rms = np.sqrt(np.mean(g**2 / np.maximum(u, eps**2)))
        eta_t = eta / max(1.0, rms)
        decay = weight_decay if decoupled_weight_decay else 0.0
        w = w - eta_t * decay * w - eta_t * v / (np.sqrt(u) + eps)
        path.append(w)
    return path


LAYERWISE = {
    "lamb": Paper(
        LAMB,
        lamb,
        {
            "lr": 0.1,
            "betas": (0.8, 0.99),
            "eps": 1e-3,
            "bias_correction": True,
            "clamp_value": 3.0,
            "trust_clip": True,
            **DECAY,
        },
        ({"lr": 0.1, "bias_correction": False, **COUPLED}, {"lr": 0.1, "weight_decay": 0, "always_adapt": False}),
    ),
    "lars": Paper(
        LARS,
        lars,
        {"lr": 0.5, "momentum": 0.8, "trust_coefficient": 0.1, "eps": 0.1, "nesterov": True, **DECAY},
        ({"lr": 0.5, "trust_coefficient": 0.1, **COUPLED}, {"lr": 0.5, "momentum": 0}),
        required={"lr": 0.5},
    ),
    "novograd": Paper(
        NovoGrad,
        novograd,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "grad_averaging": True, **DECAY},
        ({"lr": 0.1, **COUPLED},),
    ),
    "stable-adamw": Paper(
        StableAdamW,
        stable_adamw,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "bias_correction": True, **DECAY},
        ({"lr": 0.1, "bias_correction": False, **COUPLED},),
    ),
}

LAYERWISE_BY_HAND = {
    # m̂ = g = (-4, 2/3) and √v̂ = |g|, so m̂ / (√v̂ + 1) = (-4/5, 2/5). λw = (1.5, 2). u = (0.7, 2.4), ‖u‖ = 2.5, ‖w‖ = 5.
    # (3, 4) - 0.25 · 5 / 2.5 · u.
    "lamb": ({"lr": 0.25, "eps": 1.0, "weight_decay": 0.5}, [3.0, 4.0], [[-4.0, 2 / 3]], [[2.65, 2.8]]),
    # ‖w‖ = 5, ‖g‖ = 2, so the ratio is 0.5 · 5 / (2 + 0.2 · 5 + 2) = 0.5. v = 0.4 · 0.5 · (1.6 + 0.6, 1.2 + 0.8).
    # Without a gradient the ratio is 1: v = 0.5 · (0.44, 0.4) + 0.4 · 0.2 · (2.56, 3.6).
    "lars": (
        {"lr": 0.4, "momentum": 0.5, "weight_decay": 0.2, "trust_coefficient": 0.5, "eps": 2.0},
        [3.0, 4.0],
        [[1.6, 1.2], [0.0, 0.0]],
        [[2.56, 3.6], [2.56 - 0.4248, 3.6 - 0.488]],
    ),
    # v = 25, √v + 5 = 10. m = (0.3, 0.4) + 0.1 · (1, 2). (1, 2) - 0.5 · (0.4, 0.6).
    # v = 0.75 · 25 + 0.25 · 121 = 49, √v + 5 = 12. m = 0.5 · (0.4, 0.6) + (0, -11/12) + 0.1 · (0.8, 1.7).
    # (0.8, 1.7) - 0.5 · (0.28, 0.47 - 11/12).
    "novograd": (
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 5.0, "weight_decay": 0.1},
        [1.0, 2.0],
        [[3.0, 4.0], [0.0, -11.0]],
        [[0.8, 1.7], [0.66, 1.465 + 11 / 24]],
    ),
    # β̂ = 0: v = g and u = g². g² / max(u, 1) = (1, 1/4), RMS < 1. 0.85 · w - 0.3 · (2/3, 1/3).
    # β̂ = (1/3, 3/7). v = (4, 1), u = (16, 1), g² / u = 25/16 for both, so that η = 0.3 / 1.25 = 0.24.
    # (1 - 0.24 · 0.5) · (1.5, -3.5) - 0.24 · (4/5, 1/2).
    "stable-adamw": (
        {"lr": 0.3, "betas": (0.5, 0.75), "eps": 1.0, "weight_decay": 0.5},
        [2.0, -4.0],
        [[2.0, 0.5], [5.0, 1.25]],
        [[1.5, -3.5], [1.128, -3.2]],
    ),
}
