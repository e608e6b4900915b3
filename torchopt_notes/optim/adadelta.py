"""Steps in the units of the weights, without a learning rate to tune: :class:`Adadelta`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, addcmul_
from ..engine.layout import real
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, unusual
from ..engine.rule import Rule, Scalar


class AdadeltaScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    rho: Scalar
    weight: Scalar
    eps: Scalar


def adadelta(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdadeltaScalars, flags: tuple[()]) -> None:
    """v ← ρ·v + (1 - ρ)·g², Δ = √(u + ε) / √(v + ε) · g, u ← ρ·u + (1 - ρ)·Δ², then w ← w - lr·Δ."""
    square_avg, acc_delta = map(real, state)
    grad = real(grad)
    addcmul_(square_avg.mul_(h.rho), grad, grad, h.weight)
    root = (square_avg + h.eps).sqrt_()
    delta = (acc_delta + h.eps).sqrt_()
    # Autograd keeps the root.
    delta = (delta / root if delta.requires_grad else delta.div_(root)).mul_(grad)
    addcmul_(acc_delta.mul_(h.rho), delta, delta, h.weight)
    # torch rounds complex weights where they are complex.
    add_(param, torch.view_as_complex(delta) if param.is_complex() else delta, -h.lr)


def adadelta_scalars(step: Scalar, lr: Scalar, rho: Scalar, eps: Scalar) -> AdadeltaScalars:
    """1 - ρ is taken here, in double precision, where it loses nothing."""
    return AdadeltaScalars(lr, rho, 1 - rho, eps)


class Adadelta(Optimizer):
    r"""Adadelta: the size of a step is the size of past steps, so that it has the units of the weights.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2 \\
        \Delta_t &= \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} \, g_t \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2 \\
        w_t &= w_{t-1} - \eta \Delta_t

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. The first steps are of the size of
    :math:`\sqrt{\epsilon}` and grow from there, so ε sets the pace of the start. A drop-in for
    :class:`torch.optim.Adadelta`: same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: η, a factor without unit on every step. Default 1, the paper's rule, as torch.
        rho: decay rate ρ in [0, 1] of both means. Default 0.9, as torch (the paper uses 0.95).
        eps: ε ≥ 0, inside both roots. Default 1e-6, the paper's.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``square_avg`` and ``acc_delta``, v and u above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Adadelta([w])
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.996838

    Source: Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", arXiv 1212.5701.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Adadelta
    rule: ClassVar[Rule] = Rule(adadelta, adadelta_scalars, kernel="adadelta", complex_native=True)

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
            **unusual(fused=fused, decoupled_weight_decay=decoupled_weight_decay),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name, rho = cls.__name__, group["rho"]
        checks.finite(name, "rho", rho)
        if not 0 <= rho <= 1:
            raise ValueError(f"{name}: Invalid rho value: {rho}; rho must be in [0, 1]")
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("square_avg", "acc_delta")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["rho"], group["eps"]
