"""Every optimizer with the flags that change its code: what the parity tests, the kernel gates and benchmarks run over.

Adding an optimizer adds its rows here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..engine.optimizer import Optimizer
from ..optim.adagrad import Adagrad
from ..optim.adam import Adam, AdamW
from ..optim.nadam import NAdam
from ..optim.rmsprop import RMSprop
from ..optim.sgd import SGD, Momentum


@dataclass(frozen=True)
class Case:
    """One optimizer with one set of flags.

    Attributes:
        name: readable and unique, for test ids and tables.
        optimizer: the class.
        kwargs: its arguments.
        reference: the ``torch.optim`` class that takes the same arguments, if there is one.
        units: how far from float64 its roundings may carry a result, in the oracle's units. Most rules stay within 2.
            Where a quotient joins a state that may cancel it, 5: the quotient's roundings (weight, squares, their mean,
            root, ε, division) come to 5 half spacings and the state's product to 2; the unit counts one for the state,
            and as little as half of one for the quotient, which does not change when gradient and root grow alike.
    """

    name: str
    optimizer: type[Optimizer]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    reference: type[torch.optim.Optimizer] | None = None
    units: int = 2


CASES: tuple[Case, ...] = (
    Case("sgd", SGD, {"lr": 0.1}, torch.optim.SGD),
    Case("sgd-decay", SGD, {"lr": 0.1, "weight_decay": 0.1}, torch.optim.SGD),
    Case("sgd-maximize", SGD, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}, torch.optim.SGD),
    Case("sgd-momentum", SGD, {"lr": 0.1, "momentum": 0.9}, torch.optim.SGD),
    Case("sgd-dampening", SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}, torch.optim.SGD),
    Case("sgd-nesterov", SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, torch.optim.SGD),
    Case("momentum-heavy-ball", Momentum, {"lr": 0.1}),
    Case("momentum-ema", Momentum, {"lr": 0.1, "form": "ema", "weight_decay": 0.1}),
    Case("momentum-ema-nesterov", Momentum, {"lr": 0.1, "form": "ema", "nesterov": True}),
    Case("momentum-velocity", Momentum, {"lr": 0.1, "form": "velocity", "maximize": True}),
    Case("momentum-velocity-nesterov", Momentum, {"lr": 0.1, "form": "velocity", "nesterov": True}),
    Case("adam", Adam, {}, torch.optim.Adam),
    Case("adam-decay", Adam, {"weight_decay": 0.1}, torch.optim.Adam),
    Case("adam-amsgrad", Adam, {"amsgrad": True, "weight_decay": 0.1}, torch.optim.Adam),
    Case("adam-maximize", Adam, {"maximize": True, "weight_decay": 0.1}, torch.optim.Adam),
    Case("adam-decoupled", Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}, torch.optim.Adam),
    Case("adamw", AdamW, {}, torch.optim.AdamW),
    Case("adamw-amsgrad", AdamW, {"amsgrad": True, "weight_decay": 0.1}, torch.optim.AdamW),
    Case("adamw-maximize", AdamW, {"maximize": True, "betas": (0.8, 0.99), "eps": 1e-6}, torch.optim.AdamW),
    Case("adam-uncorrected", Adam, {"bias_correction": False, "weight_decay": 0.1}),
    Case("adagrad", Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}, torch.optim.Adagrad),
    Case("adagrad-start", Adagrad, {"initial_accumulator_value": 0.5, "maximize": True}, torch.optim.Adagrad),
    Case("adagrad-eps-inside", Adagrad, {"eps_inside_sqrt": True, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    Case("rmsprop", RMSprop, {}, torch.optim.RMSprop),
    Case("rmsprop-centered", RMSprop, {"centered": True, "weight_decay": 0.1}, torch.optim.RMSprop),
    Case("rmsprop-momentum", RMSprop, {"momentum": 0.9, "maximize": True}, torch.optim.RMSprop, units=5),
    Case("rmsprop-centered-momentum", RMSprop, {"momentum": 0.9, "centered": True}, torch.optim.RMSprop, units=5),
    Case("rmsprop-eps-inside", RMSprop, {"eps_inside_sqrt": True, "eps": 1e-3}),
    Case("nadam", NAdam, {"weight_decay": 0.1}, torch.optim.NAdam),
    Case("nadam-decoupled", NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}, torch.optim.NAdam),
    Case("nadam-maximize", NAdam, {"maximize": True, "momentum_decay": 0.1}, torch.optim.NAdam),
    Case("nadam-uncorrected", NAdam, {"bias_correction": False}),
)
