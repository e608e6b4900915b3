"""Independent references: optimizers in float64 NumPy, written from their papers, one step after the other.

Each function takes the start, the gradients and the optimizer's own arguments with the defaults that we document, and
returns the weights after every step. ``lr`` may be one number, or one per step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchopt_notes import ADOPT, AdaBelief, Adan, AdEMAMix, LaProp, Lion, Optimizer, Signum


def rates(lr, grads):
    """A learning rate for every step."""
    return np.broadcast_to(lr, len(grads))


def before(w, g, eta, weight_decay, decoupled_weight_decay, maximize):
    """What every optimizer does before its own rule: the sign, then the decay."""
    if maximize:
        g = -g
    if decoupled_weight_decay:
        return w - eta * weight_decay * w, g
    return w, g + weight_decay * w


def lion(w, grads, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, decoupled_weight_decay=True, maximize=False):
    """Chen et al. 2023, algorithm 2."""
    beta1, beta2 = betas
    m, path = np.zeros_like(w), []
    for g, eta in zip(grads, rates(lr, grads), strict=True):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        c = beta1 * m + (1 - beta1) * g
        w = w - eta * np.sign(c)
        m = beta2 * m + (1 - beta2) * g
        path.append(w)
    return path


def signum(w, grads, lr=1e-4, momentum=0.9, weight_decay=0.0, decoupled_weight_decay=True, maximize=False):
    """Bernstein et al. 2018, algorithm 2 (Signum); momentum 0 is algorithm 1 (signSGD)."""
    m, path = np.zeros_like(w), []
    for g, eta in zip(grads, rates(lr, grads), strict=True):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        m = momentum * m + (1 - momentum) * g
        w = w - eta * np.sign(m)
        path.append(w)
    return path


def adabelief(
    w,
    grads,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-16,
    weight_decay=0.0,
    decoupled_weight_decay=True,
    bias_correction=True,
    maximize=False,
):
    """Zhuang et al. 2020, algorithm 2."""
    beta1, beta2 = betas
    m, s, path = np.zeros_like(w), np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps
        m_hat = m / (1 - beta1**t) if bias_correction else m
        s_hat = s / (1 - beta2**t) if bias_correction else s
        w = w - eta * m_hat / (np.sqrt(s_hat) + eps)
        path.append(w)
    return path


def laprop(
    w,
    grads,
    lr=4e-4,
    betas=(0.9, 0.999),
    eps=1e-15,
    weight_decay=0.0,
    decoupled_weight_decay=True,
    maximize=False,
):
    """Ziyin et al. 2020, algorithm 1."""
    mu, nu = betas
    m, n, path = np.zeros_like(w), np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        n = nu * n + (1 - nu) * g**2
        c_m, c_n = 1 - mu**t, 1 - nu**t
        m = mu * m + (1 - mu) * g / (np.sqrt(n / c_n) + eps)
        w = w - eta * m / c_m
        path.append(w)
    return path


def adopt(
    w,
    grads,
    lr=1e-3,
    betas=(0.9, 0.9999),
    eps=1e-6,
    weight_decay=0.0,
    clip_exponent=0.25,
    decoupled_weight_decay=False,
    maximize=False,
):
    """Taniguchi et al. 2024, algorithm 2, whose t counts from 0 at the first gradient."""
    beta1, beta2 = betas
    m, path = np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True)):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        if t == 0:
            v = g**2
        else:
            quotient = g / np.maximum(np.sqrt(v), eps)
            if clip_exponent is not None:
                quotient = np.clip(quotient, -(t**clip_exponent), t**clip_exponent)
            m = beta1 * m + (1 - beta1) * quotient
            w = w - eta * m
            v = beta2 * v + (1 - beta2) * g**2
        path.append(w)
    return path


def ademamix(
    w,
    grads,
    lr=1e-3,
    betas=(0.9, 0.999, 0.9999),
    alpha=5.0,
    eps=1e-8,
    weight_decay=0.0,
    t_alpha=None,
    t_beta3=None,
    decoupled_weight_decay=True,
    maximize=False,
):
    """Pagliardini et al. 2024, algorithm 1 and the schedules of its section 3."""
    beta1, beta2, last_beta3 = betas
    m1, m2, v, path = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), []
    for t, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        alpha_t = alpha if t_alpha is None else min(t * alpha / t_alpha, alpha)
        beta3 = last_beta3
        if t_beta3 is not None:
            start, end = np.log(beta1), np.log(last_beta3)
            beta3 = min(np.exp(start * end / ((1 - t / t_beta3) * end + t / t_beta3 * start)), last_beta3)
        m1 = beta1 * m1 + (1 - beta1) * g
        m2 = beta3 * m2 + (1 - beta3) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - eta * (m1 / (1 - beta1**t) + alpha_t * m2) / (np.sqrt(v / (1 - beta2**t)) + eps)
        path.append(w)
    return path


def adan(
    w,
    grads,
    lr=1e-3,
    betas=(0.98, 0.92, 0.99),
    eps=1e-8,
    weight_decay=0.0,
    decoupled_weight_decay=True,
    maximize=False,
):
    """Xie et al. 2022, algorithm 1, in which β is the new value's share; started at zero as in the authors' code."""
    beta1, beta2, beta3 = (1 - rate for rate in betas)
    m, v, n, path = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), []
    last = None
    for k, (g, eta) in enumerate(zip(grads, rates(lr, grads), strict=True), start=1):
        w, g = before(w, g, eta, weight_decay, decoupled_weight_decay, maximize)
        change = np.zeros_like(g) if last is None else g - last
        m = (1 - beta1) * m + beta1 * g
        v = (1 - beta2) * v + beta2 * change
        n = (1 - beta3) * n + beta3 * (g + (1 - beta2) * change) ** 2
        m_hat, v_hat, n_hat = m / (1 - (1 - beta1) ** k), v / (1 - (1 - beta2) ** k), n / (1 - (1 - beta3) ** k)
        w = w - eta / (np.sqrt(n_hat) + eps) * (m_hat + (1 - beta2) * v_hat)
        last = g
        path.append(w)
    return path


@dataclass(frozen=True)
class Paper:
    """One optimizer and its reference.

    Attributes:
        optimizer: the class.
        reference: its reference.
        full: arguments of the reference, each with a value that shows in the result: all that can show together.
        others: further sets of arguments, for the options that ``full`` leaves out.
        required: the arguments that have no default.
    """

    optimizer: type[Optimizer]
    reference: Callable[..., list[np.ndarray]]
    full: Mapping[str, Any]
    others: tuple[Mapping[str, Any], ...] = ()
    required: Mapping[str, Any] = field(default_factory=dict)


DECAY = {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}
COUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": False}

PAPERS = {
    "lion": Paper(Lion, lion, {"lr": 0.1, "betas": (0.8, 0.95), **DECAY}, ({"lr": 0.1, **COUPLED},)),
    "signum": Paper(
        Signum, signum, {"lr": 0.1, "momentum": 0.8, **DECAY}, ({"lr": 0.1, **COUPLED}, {"lr": 0.1, "momentum": 0})
    ),
    "adabelief": Paper(
        AdaBelief,
        adabelief,
        {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-3, "bias_correction": True, **DECAY},
        ({"lr": 0.1, "bias_correction": False, **COUPLED},),
    ),
    "laprop": Paper(LaProp, laprop, {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-3, **DECAY}, ({"lr": 0.1, **COUPLED},)),
    "adopt": Paper(
        ADOPT,
        adopt,
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.5, "clip_exponent": 0.25, **DECAY},
        ({"lr": 0.1, "clip_exponent": None, **COUPLED}, {"lr": 0.1, "clip_exponent": 0.0}),
    ),
    "ademamix": Paper(
        AdEMAMix,
        ademamix,
        {"lr": 0.1, "betas": (0.8, 0.99, 0.999), "alpha": 8.0, "eps": 1e-3, "t_alpha": 20, "t_beta3": 15, **DECAY},
        ({"lr": 0.1, "betas": (0.9, 0.9, 0.5), "t_beta3": 30, **COUPLED},),
    ),
    "adan": Paper(Adan, adan, {"lr": 0.1, "betas": (0.9, 0.8, 0.95), "eps": 1e-3, **DECAY}, ({"lr": 0.1, **COUPLED},)),
}
