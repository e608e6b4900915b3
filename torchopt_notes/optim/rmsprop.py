"""Steps divided by the root of a running mean of squared gradients: :class:`RMSprop`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, add_number, addcdiv_, addcmul_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar


class RMSpropScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    alpha: Scalar
    weight: Scalar
    eps: Scalar
    momentum: Scalar


class RMSpropFlags(NamedTuple):
    """The choices that change the code."""

    momentum: bool
    centered: bool
    eps_inside_sqrt: bool


def rmsprop(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: RMSpropScalars, flags: RMSpropFlags) -> None:
    """v ← α·v + (1 - α)·g², then w ← w - lr·g / (√v + ε); centered takes the mean's square off v."""
    square_avg, *others = state
    addcmul_(square_avg.mul_(h.alpha), grad, grad, h.weight)
    if flags.centered:
        grad_avg = others.pop(0)
        lerp_(grad_avg, grad, h.weight)
        variance = square_avg.addcmul(grad_avg, grad_avg, value=-1)
    else:
        variance = square_avg
    if flags.eps_inside_sqrt:
        root = (variance + h.eps).sqrt_()
    else:
        root = add_number(variance.sqrt_() if flags.centered else variance.sqrt(), h.eps)
    if flags.momentum:
        (buffer,) = others
        add_(param, addcdiv_(buffer.mul_(h.momentum), grad, root, 1.0), -h.lr)
    else:
        addcdiv_(param, grad, root, -h.lr)


def rmsprop_scalars(step: Scalar, lr: Scalar, alpha: Scalar, eps: Scalar, momentum: Scalar) -> RMSpropScalars:
    """1 - α is taken here, in double precision, where it loses nothing."""
    return RMSpropScalars(lr, alpha, 1 - alpha, eps, momentum)


class RMSprop(Optimizer):
    r"""RMSprop: divides each step by the root of a running mean of squared gradients.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2 \
        w_t &= w_{t-1} - \eta \, g_t / (\sqrt{v_t} + \epsilon)

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. ``centered`` divides by the root of the variance
    :math:`v_t - \bar g_t^2` instead, where :math:`\bar g` is the running mean of the gradients. With ``momentum`` the
    quotient goes into a buffer, :math:`b_t = \mu b_{t-1} + g_t / (\sqrt{v_t} + \epsilon)`, and the step is
    :math:`\eta b_t`. A drop-in for :class:`torch.optim.RMSprop`: same arguments, group keys and state keys, and on the
    eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 1e-2, as torch.
        alpha: decay rate α ≥ 0 of the means. Default 0.99, as torch.
        eps: ε ≥ 0. Default 1e-8, as torch.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        momentum: μ ≥ 0. Default 0: no buffer is kept.
        centered: divide by the root of the variance (Graves 2013).
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead.
        eps_inside_sqrt: divide by :math:`\sqrt{v_t + \epsilon}`, as some texts write it. Default False.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``square_avg``, with centered ``grad_avg`` and with momentum ``momentum_buffer``, shaped like
    the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.RMSprop([w], lr=0.1, alpha=0.9)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.683772

    Source: Tieleman and Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning"; Graves 2013, "Generating
    Sequences with Recurrent Neural Networks", arXiv 1308.0850, for the centered form.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.RMSprop
    rule: ClassVar[Rule] = Rule(rmsprop, rmsprop_scalars, kernel="rmsprop")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        eps_inside_sqrt: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            **unusual(
                fused=fused,
                decoupled_weight_decay=decoupled_weight_decay,
                eps_inside_sqrt=eps_inside_sqrt,
            ),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")
        checks.non_negative(name, "momentum", group["momentum"], "Invalid momentum value")
        checks.non_negative(name, "alpha", group["alpha"], "Invalid alpha value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        centered = ("grad_avg",) if group["centered"] else ()
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("square_avg", *centered, *momentum)

    def flags(self, group: dict[str, Any]) -> RMSpropFlags:
        """The choices that change the code."""
        return RMSpropFlags(
            momentum=group["momentum"] > 0,
            centered=bool(group["centered"]),
            eps_inside_sqrt=bool(option(group, "eps_inside_sqrt")),
        )

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["alpha"], group["eps"], group["momentum"]
