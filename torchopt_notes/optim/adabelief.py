"""Adam that divides by how far gradients are from what was expected: :class:`AdaBelief`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_number, addcdiv_, addcmul_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Rule, Scalar


class AdaBeliefScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    step_size: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    correction2: Scalar
    eps: Scalar


def adabelief(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdaBeliefScalars, flags: tuple[()]) -> None:
    """m ← β₁m + (1 - β₁)g; s ← β₂s + (1 - β₂)(g - m)² + ε; then w ← w - step_size·m / (√ŝ + ε)."""
    exp_avg, exp_avg_var = state
    lerp_(exp_avg, grad, h.weight1)
    surprise = grad - exp_avg
    del grad  # a transformed gradient is ours, and the denominator can have its memory
    addcmul_(exp_avg_var.mul_(h.beta2), surprise, surprise, h.weight2).add_(h.eps)
    del surprise
    denom = add_number((exp_avg_var * h.correction2).sqrt(), h.eps)
    addcdiv_(param, exp_avg, denom, -h.step_size)


def adabelief_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, corrected: float
) -> AdaBeliefScalars:
    """1 - β is taken here, in double precision, where it loses nothing. ``corrected`` is 1, or 0 to leave the bias."""
    return AdaBeliefScalars(
        step_size=lr / (1 - corrected * beta1**step),
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        correction2=1 / (1 - corrected * beta2**step),
        eps=eps,
    )


class AdaBelief(Optimizer):
    r"""AdaBelief: long steps where a gradient is what its running mean foretold, short ones where it is not.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, & \hat m_t &= m_t / (1 - \beta_1^t) \\
        s_t &= \beta_2 s_{t-1} + (1 - \beta_2) (g_t - m_t)^2 + \epsilon, & \hat s_t &= s_t / (1 - \beta_2^t) \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \eta \, \hat m_t / (\sqrt{\hat s_t} + \epsilon)

    This is Adam with the gradient's distance from its mean in place of the gradient. The ε inside of :math:`s_t` adds
    up, to :math:`\epsilon / (1 - \beta_2)` at last. The authors' code rectifies the step too, as :class:`RAdam` does,
    unless told otherwise; the paper's algorithm, and this one, do not.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 1e-3, the paper's.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.999), the paper's.
        eps: ε ≥ 0, added both to :math:`s_t` and to the root. Default 1e-16, the authors' code's since its version
            0.1.0: it lies under a root, so 1e-16 there weighs as much as Adam's 1e-8 outside. The paper's experiments
            on images have 1e-8.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the authors' code's
            since its version 0.1.0.
        bias_correction: divide the averages by 1 - βᵗ. ``False`` leaves them biased towards their start at zero.
            Default True, as in the paper.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_var``, m and s above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.AdaBelief([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()  # 0.1 · 2 / |2 - 0.2|
        >>> round(w.item(), 6)
        0.888889

    Source: Zhuang et al. 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
    arXiv 2010.07468, algorithm 2.
    """

    rule: ClassVar[Rule] = Rule(adabelief, adabelief_scalars, kernel="adabelief")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0,
        *,
        decoupled_weight_decay: bool = True,
        bias_correction: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "bias_correction": bias_correction,
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
        return ("exp_avg", "exp_avg_var")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"], float(group["bias_correction"])
