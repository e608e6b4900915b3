"""Adam with the largest recent gradient in place of a mean of squares: :class:`Adamax`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_number, addcdiv_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar


class AdamaxScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    step_size: Scalar
    weight1: Scalar
    beta2: Scalar
    eps: Scalar


def adamax(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdamaxScalars, flags: tuple[()]) -> None:
    """m ← m + (1 - β₁)(g - m), u ← max(β₂·u, |g| + ε), then w ← w - step_size·m / u."""
    exp_avg, exp_inf = state
    lerp_(exp_avg, grad, h.weight1)
    # The larger of the two, or NaN if either is, without a temporary for it.
    exp_inf.mul_(h.beta2).clamp_(min=add_number(grad.abs(), h.eps))
    addcdiv_(param, exp_avg, exp_inf, -h.step_size)


def adamax_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, corrected: float
) -> AdamaxScalars:
    """The bias correction, and 1 - β₁ in double precision. ``corrected`` is 1, or 0 to leave the average's bias."""
    return AdamaxScalars(lr / (1 - corrected * beta1**step), 1 - beta1, beta2, eps)


class Adamax(Optimizer):
    r"""Adamax: Adam whose denominator is the largest recent gradient, which needs no correction of its bias.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        u_t &= \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        w_t &= w_{t-1} - \frac{\eta}{1 - \beta_1^t} \, m_t / u_t

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. No step of a weight is much larger than η. A drop-in for
    :class:`torch.optim.Adamax`: same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 2e-3, the paper's.
        betas: decay rates of the average and of the largest gradient, each in [0, 1). Default (0.9, 0.999), the
            paper's.
        eps: added to the gradient's absolute value, so that u is never zero. Default 1e-8, as torch (the paper has
            none).
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only).
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead.
        bias_correction: divide the average by 1 - β₁ᵗ. ``False`` leaves it biased towards its start at zero. Default
            True.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_inf``, m and u above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Adamax([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.9

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, section 7.1.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Adamax
    rule: ClassVar[Rule] = Rule(adamax, adamax_scalars, kernel="adamax")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        bias_correction: bool = True,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
            **unusual(
                fused=fused,
                decoupled_weight_decay=decoupled_weight_decay,
                bias_correction=bias_correction,
            ),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")
        checks.betas(name, group["betas"])

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_inf")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"], float(option(group, "bias_correction"))
