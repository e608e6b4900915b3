"""Steps of one size in every weight, along the sign of a momentum: :class:`Lion` and :class:`Signum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Rule, Scalar


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1, and NaN for NaN: torch's own sign of NaN is 0, which would hide that training has broken down."""
    # Comparisons, because the compiler has no vector instructions for isnan().
    return torch.where(x > 0, 1.0, torch.where(x < 0, -1.0, x.detach()))


class LionScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    beta1: Scalar
    weight1: Scalar
    weight2: Scalar


def lion(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: LionScalars, flags: tuple[()]) -> None:
    """w ← w - lr·sign(β₁m + (1 - β₁)g), then m ← β₂m + (1 - β₂)g."""
    (exp_avg,) = state
    direction = sign(add_(exp_avg * h.beta1, grad, h.weight1))
    lerp_(exp_avg, grad, h.weight2)
    add_(param, direction, -h.lr)


def lion_scalars(step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar) -> LionScalars:
    """1 - β is taken here, in double precision, where it loses nothing."""
    return LionScalars(lr, beta1, 1 - beta1, 1 - beta2)


class Lion(Optimizer):
    r"""Lion: steps of one size in every weight, along the sign of gradient and momentum together.

    .. math::
        c_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \eta \, \mathrm{sign}(c_t) \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2) g_t

    Every weight whose :math:`c_t` is not zero moves by exactly η, so a good learning rate is about 3 to 10 times
    smaller than AdamW's, and λ larger by the same factor (the paper's advice). Complex numbers step along the signs of
    their real and imaginary part.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: the size of a step of any weight. Default 1e-4, the authors' code's.
        betas: β₁ and β₂ in [0, 1): how much momentum joins the gradient, and how slowly it forgets. Default
            (0.9, 0.99), the paper's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0, the authors' code's.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the paper's form.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``exp_avg``, m above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0, -3.0]))
        >>> opt = torchopt_notes.Lion([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> [round(x, 6) for x in w.tolist()]
        [0.9, -2.9]

    Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675, algorithm 2.
    """

    rule: ClassVar[Rule] = Rule(lion, lion_scalars, kernel="lion")
    has_step: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        decoupled_weight_decay: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            **flags,
        }
        super().__init__(params, defaults, **engine_options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        checks.betas(cls.__name__, group["betas"])

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg",)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"]


class SignumScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    weight: Scalar


class SignumFlags(NamedTuple):
    """The choices that change the code."""

    momentum: bool


def signum(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: SignumScalars, flags: SignumFlags) -> None:
    """m ← βm + (1 - β)g, then w ← w - lr·sign(m); without momentum, along the gradient's sign."""
    add_(param, sign(lerp_(state[0], grad, h.weight) if flags.momentum else grad), -h.lr)


def signum_scalars(step: Scalar, lr: Scalar, momentum: Scalar) -> SignumScalars:
    """1 - β is taken here, in double precision, where it loses nothing."""
    return SignumScalars(lr, 1 - momentum)


class Signum(Optimizer):
    r"""Signum: steps of one size in every weight, along the sign of a running mean of the gradients.

    .. math::
        m_t &= \beta m_{t-1} + (1 - \beta) g_t \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \eta \, \mathrm{sign}(m_t)

    Without momentum this is signSGD, which keeps no state. Complex numbers step along the signs of their real and
    imaginary part.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: the size of a step of any weight. Default 1e-4, as :class:`Lion`; the paper
            leaves it to be tuned.
        momentum: β in [0, 1). Default 0.9, the paper's. 0 is signSGD.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0: the paper has none.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled), where it can do no more than turn
            a sign. Default True, the form of the authors' later paper (arXiv 1810.05291).
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``momentum_buffer``, m above, shaped like the parameter, when ``momentum > 0``.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0, -3.0]))
        >>> opt = torchopt_notes.Signum([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> [round(x, 6) for x in w.tolist()]
        [0.9, -2.9]

    Source: Bernstein et al. 2018, "signSGD: Compressed Optimisation for Non-Convex Problems", arXiv 1802.04434.
    """

    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {"signsgd": {"momentum": 0}}
    rule: ClassVar[Rule] = Rule(signum, signum_scalars, kernel="signum")
    has_step: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-4,
        momentum: float = 0.9,
        weight_decay: float = 0,
        *,
        decoupled_weight_decay: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            **flags,
        }
        super().__init__(params, defaults, **engine_options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        checks.unit_interval(cls.__name__, "momentum", group["momentum"], "Invalid momentum value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("momentum_buffer",) if group["momentum"] > 0 else ()

    def flags(self, group: dict[str, Any]) -> SignumFlags:
        """The choices that change the code."""
        return SignumFlags(momentum=group["momentum"] > 0)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["momentum"]
