"""Momentum of gradients that were divided by their root mean square first: :class:`LaProp`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, add_number, addcdiv_, addcmul_
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Rule, Scalar


class LaPropScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    step_size: Scalar
    beta1: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    eps: Scalar


def laprop(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: LaPropScalars, flags: tuple[()]) -> None:
    """n ← νn + (1 - ν)g²; m ← μm + (1 - μ)g / (√n̂ + ε), with the bias correction of n̂ in the numbers; w ← w - lr·m̂."""
    exp_avg, exp_avg_sq = state
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    denom = add_number(exp_avg_sq.sqrt(), h.eps)
    addcdiv_(exp_avg.mul_(h.beta1), grad, denom, h.weight1)
    add_(param, exp_avg, -h.step_size)


def laprop_scalars(step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar) -> LaPropScalars:
    """With c = 1 - νᵗ, g / (√(n / c) + ε) = √c·g / (√n + √c·ε): one division less for every weight."""
    bias_correction2_sqrt = (1 - beta2**step) ** 0.5
    return LaPropScalars(
        step_size=lr / (1 - beta1**step),
        beta1=beta1,
        weight1=(1 - beta1) * bias_correction2_sqrt,
        beta2=beta2,
        weight2=1 - beta2,
        eps=eps * bias_correction2_sqrt,
    )


class LaProp(Optimizer):
    r"""LaProp: each gradient is divided by the root of its mean square, and the quotients are then averaged.

    .. math::
        n_t &= \nu n_{t-1} + (1 - \nu) g_t^2, \qquad \hat n_t = n_t / (1 - \nu^t) \\
        m_t &= \mu m_{t-1} + (1 - \mu) \, g_t / (\sqrt{\hat n_t} + \epsilon) \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \frac{\eta}{1 - \mu^t} m_t

    Adam does the two in the other order, so that a small :math:`n_t` can meet a mean of gradients that were large; here
    momentum and denominator cannot disagree, and any ν goes with any μ.

    The authors' code differs in two ways. It averages the learning rate along with the quotients, which is the same
    while η is constant. And its weight decay multiplies the weight by 1 - λ, without η, after the step.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 4e-4, the authors' code's.
        betas: μ and ν, the decay rates of the quotients' average and of the squares', each in [0, 1). Default
            (0.9, 0.999), the authors' code's.
        eps: ε ≥ 0, added to the root, outside of it. Default 1e-15, the authors' code's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the authors' form
            but for η.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq``, m and n above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.LaProp([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.9

    Source: Ziyin, Wang and Ueda 2020, "LaProp: Separating Momentum and Adaptivity in Adam", arXiv 2002.04839,
    algorithm 1.
    """

    rule: ClassVar[Rule] = Rule(laprop, laprop_scalars, kernel="laprop")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 4e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
        weight_decay: float = 0,
        *,
        decoupled_weight_decay: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            **flags,
        }
        super().__init__(params, defaults, **engine_options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.betas(name, group["betas"])
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"]
