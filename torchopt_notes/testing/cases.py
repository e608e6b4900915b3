"""Every optimizer with the flags that change its code: what the parity tests, the kernel gates and benchmarks run over.

Adding an optimizer adds its rows here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..engine.optimizer import Optimizer
from ..optim.adabelief import AdaBelief
from ..optim.adadelta import Adadelta
from ..optim.adafactor import Adafactor
from ..optim.adagrad import Adagrad
from ..optim.adam import Adam, AdamW
from ..optim.adamax import Adamax
from ..optim.adan import Adan
from ..optim.ademamix import AdEMAMix
from ..optim.adopt import ADOPT
from ..optim.asgd import ASGD
from ..optim.lamb import LAMB
from ..optim.laprop import LaProp
from ..optim.lars import LARS
from ..optim.nadam import NAdam
from ..optim.novograd import NovoGrad
from ..optim.radam import RAdam
from ..optim.rmsprop import RMSprop
from ..optim.rprop import Rprop
from ..optim.sgd import SGD, Momentum
from ..optim.sign import Lion, Signum
from ..optim.stable_adamw import StableAdamW
from .scenarios import SHAPES
from .tolerances import FACTORED, NORMS, PLAIN, QUOTIENT_AND_STATE, SQUARED_STEP, Roundings


@dataclass(frozen=True)
class Case:
    """One optimizer with one set of flags.

    Attributes:
        name: readable and unique, for test ids and tables.
        optimizer: the class.
        kwargs: its arguments.
        reference: the ``torch.optim`` class that takes the same arguments, if there is one.
        roundings: how far from float64 its roundings may carry a result, and why.
        shapes: parameters to try it on.
    """

    name: str
    optimizer: type[Optimizer]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    reference: type[torch.optim.Optimizer] | None = None
    roundings: Roundings = PLAIN
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    @property
    def units(self) -> int:
        """The largest distance from float64 that is right, in the oracle's units."""
        return self.roundings.units

    def takes(self, dtype: torch.dtype) -> bool:
        """Whether the optimizer takes parameters of this dtype, and means the same by its arguments in float64."""
        if self.optimizer is Adafactor and self.kwargs.get("eps", (None,))[0] is None:
            return dtype in (torch.float32, torch.float64)  # in others the default ε shows, which the dtype decides
        return not (dtype.is_complex and "complex" in self.optimizer.unsupported)


NOT_EMPTY = tuple(shape for shape in SHAPES if 0 not in shape)
"""torch's Adafactor divides by the number of elements."""

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
    Case(
        "rmsprop-momentum",
        RMSprop,
        {"momentum": 0.9, "maximize": True},
        torch.optim.RMSprop,
        roundings=QUOTIENT_AND_STATE,
    ),
    Case(
        "rmsprop-centered-momentum",
        RMSprop,
        {"momentum": 0.9, "centered": True},
        torch.optim.RMSprop,
        roundings=QUOTIENT_AND_STATE,
    ),
    Case("rmsprop-eps-inside", RMSprop, {"eps_inside_sqrt": True, "eps": 1e-3}),
    Case("nadam", NAdam, {"weight_decay": 0.1}, torch.optim.NAdam),
    Case("nadam-decoupled", NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}, torch.optim.NAdam),
    Case("nadam-maximize", NAdam, {"maximize": True, "momentum_decay": 0.1}, torch.optim.NAdam),
    Case("nadam-uncorrected", NAdam, {"bias_correction": False}),
    Case("adadelta", Adadelta, {"weight_decay": 0.1}, torch.optim.Adadelta, roundings=SQUARED_STEP),
    Case(
        "adadelta-maximize",
        Adadelta,
        {"maximize": True, "rho": 0.5, "eps": 1e-3},
        torch.optim.Adadelta,
        roundings=SQUARED_STEP,
    ),
    Case("adadelta-decoupled", Adadelta, {"decoupled_weight_decay": True, "weight_decay": 0.1}, roundings=SQUARED_STEP),
    Case("adamax", Adamax, {"weight_decay": 0.1}, torch.optim.Adamax),
    Case("adamax-maximize", Adamax, {"maximize": True, "betas": (0.8, 0.5), "eps": 1e-3}, torch.optim.Adamax),
    Case("adamax-decoupled", Adamax, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    Case("adamax-uncorrected", Adamax, {"bias_correction": False}),
    Case("radam", RAdam, {"weight_decay": 0.1}, torch.optim.RAdam),
    Case("radam-decoupled", RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}, torch.optim.RAdam),
    Case("radam-maximize", RAdam, {"maximize": True, "betas": (0.8, 0.99), "eps": 1e-3}, torch.optim.RAdam),
    Case("radam-unrectified", RAdam, {"betas": (0.9, 0.6)}, torch.optim.RAdam),
    Case("radam-uncorrected", RAdam, {"bias_correction": False}),
    Case("rprop", Rprop, {}, torch.optim.Rprop),
    Case("rprop-maximize", Rprop, {"maximize": True, "lr": 0.1, "etas": (0.3, 1.5)}, torch.optim.Rprop),
    Case("rprop-bounds", Rprop, {"step_sizes": (5e-3, 0.02)}, torch.optim.Rprop),
    Case("rprop-decay", Rprop, {"weight_decay": 0.1}),
    Case("rprop-decoupled", Rprop, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("asgd", ASGD, {"weight_decay": 0.1}, torch.optim.ASGD),
    Case("asgd-averaging", ASGD, {"t0": 2, "lambd": 0.1, "maximize": True}, torch.optim.ASGD),
    Case("asgd-decoupled", ASGD, {"t0": 0, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("lion", Lion, {"weight_decay": 0.1}),
    Case("lion-coupled", Lion, {"weight_decay": 0.1, "decoupled_weight_decay": False, "betas": (0.8, 0.95)}),
    Case("lion-maximize", Lion, {"maximize": True}),
    Case("signum", Signum, {"weight_decay": 0.1}),
    Case("signum-coupled", Signum, {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True}),
    Case("signum-signsgd", Signum, {"momentum": 0}),
    Case("adabelief", AdaBelief, {"weight_decay": 0.1}),
    Case("adabelief-coupled", AdaBelief, {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True}),
    Case("adabelief-uncorrected", AdaBelief, {"bias_correction": False, "eps": 1e-8}),
    Case("laprop", LaProp, {"weight_decay": 0.1}, roundings=QUOTIENT_AND_STATE),
    Case(
        "laprop-coupled",
        LaProp,
        {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True},
        roundings=QUOTIENT_AND_STATE,
    ),
    Case("adopt", ADOPT, {"weight_decay": 0.1}, roundings=QUOTIENT_AND_STATE),
    Case(
        "adopt-decoupled",
        ADOPT,
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        roundings=QUOTIENT_AND_STATE,
    ),
    Case(
        "adopt-unclipped",
        ADOPT,
        {"clip_exponent": None, "eps": 0.1, "betas": (0.8, 0.99)},
        roundings=QUOTIENT_AND_STATE,
    ),
    Case("ademamix", AdEMAMix, {"weight_decay": 0.1}),
    Case("ademamix-coupled", AdEMAMix, {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True}),
    Case("ademamix-schedules", AdEMAMix, {"t_alpha": 5, "t_beta3": 8, "alpha": 8.0}),
    Case("adan", Adan, {"weight_decay": 0.1}),
    Case("adan-coupled", Adan, {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True}),
    Case("lamb", LAMB, {}, roundings=NORMS),
    Case(
        "lamb-coupled", LAMB, {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True}, roundings=NORMS
    ),
    Case("lamb-options", LAMB, {"clamp_value": 1.5, "trust_clip": True, "bias_correction": False}, roundings=NORMS),
    Case("lamb-exempt", LAMB, {"exempt_1d": True}, roundings=NORMS),
    Case("lamb-unadapted", LAMB, {"weight_decay": 0, "always_adapt": False}, roundings=NORMS),
    Case("lars", LARS, {"lr": 0.1, "weight_decay": 0.1, "trust_coefficient": 0.1}, roundings=NORMS),
    Case("lars-nesterov", LARS, {"lr": 0.1, "nesterov": True, "maximize": True}, roundings=NORMS),
    Case(
        "lars-plain",
        LARS,
        {"lr": 0.1, "momentum": 0, "weight_decay": 0.1, "decoupled_weight_decay": True},
        roundings=NORMS,
    ),
    Case("lars-exempt", LARS, {"lr": 0.1, "exempt_1d": True, "eps": 1e-6, "weight_decay": 0.1}, roundings=NORMS),
    Case("novograd", NovoGrad, {"weight_decay": 0.1}, roundings=NORMS),
    Case("novograd-coupled", NovoGrad, {"weight_decay": 0.1, "decoupled_weight_decay": False}, roundings=NORMS),
    Case("novograd-averaged", NovoGrad, {"grad_averaging": True, "maximize": True}, roundings=NORMS),
    Case("stable-adamw", StableAdamW, {}, roundings=NORMS),
    Case("stable-adamw-coupled", StableAdamW, {"decoupled_weight_decay": False, "maximize": True}, roundings=NORMS),
    Case("stable-adamw-uncorrected", StableAdamW, {"bias_correction": False}, roundings=NORMS),
    Case("adafactor", Adafactor, {}, torch.optim.Adafactor, roundings=FACTORED, shapes=NOT_EMPTY),
    Case(
        "adafactor-decay",
        Adafactor,
        {"weight_decay": 0.1, "maximize": True, "eps": (1e-7, 1e-3)},
        torch.optim.Adafactor,
        roundings=FACTORED,
        shapes=NOT_EMPTY,
    ),
    Case(
        "adafactor-eps",
        Adafactor,
        {"eps": (1e-3, 1e-2), "d": 2.0, "lr": 0.5},
        torch.optim.Adafactor,
        roundings=FACTORED,
        shapes=NOT_EMPTY,
    ),
    Case(
        "adafactor-coupled",
        Adafactor,
        {"weight_decay": 0.1, "decoupled_weight_decay": False, "eps": (1e-7, 1e-3)},
        roundings=FACTORED,
    ),
)
