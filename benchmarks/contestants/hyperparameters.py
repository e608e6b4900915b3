"""One set of hyperparameters for each optimizer, given to every contestant: defaults differ between packages.

Momentum is left out, which is SGD with its momentum, and SparseAdam, which takes sparse gradients only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}

HYPERPARAMETERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "sgd": {"lr": 1e-3, "momentum": 0.9},
        "adam": ADAM,
        "adamw": {**ADAM, "weight_decay": 1e-2},
        "adagrad": {"lr": 1e-2, "eps": 1e-10},
        "rmsprop": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8},
        "nadam": {**ADAM, "lr": 2e-3},
        "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
        "adamax": {**ADAM, "lr": 2e-3},
        "radam": ADAM,
        "rprop": {"lr": 1e-2, "etas": (0.5, 1.2)},
        "asgd": {"lr": 1e-2},
        "lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 1e-2},
        "signum": {"lr": 1e-4, "momentum": 0.9},
        "adabelief": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16},
        "laprop": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-15},
        "adopt": {"lr": 1e-3, "betas": (0.9, 0.9999), "eps": 1e-6},
        "ademamix": {"lr": 1e-3, "betas": (0.9, 0.999, 0.9999), "eps": 1e-8, "weight_decay": 1e-2},
        "adan": {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 1e-2},
        "lamb": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 1e-2},
        "lars": {"lr": 1e-1, "momentum": 0.9, "weight_decay": 1e-4},
        "novograd": {"lr": 1e-3, "betas": (0.95, 0.98), "eps": 1e-8, "weight_decay": 1e-3},
        "stableadamw": {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 1e-2},
        "adafactor": {"lr": 1e-2},
    }
)
