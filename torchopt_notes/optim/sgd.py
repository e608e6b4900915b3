"""Gradient descent and its momentum forms: :class:`SGD` and :class:`Momentum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, unusual
from ..engine.rule import Rule, Scalar

Form = Literal["heavy-ball", "ema", "velocity"]


class SGDScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    buffer_decay: Scalar
    grad_weight: Scalar
    momentum: Scalar


class SGDFlags(NamedTuple):
    """The choices that change the code."""

    momentum: bool
    nesterov: bool


def sgd(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: SGDScalars, flags: SGDFlags) -> None:
    """b ← decay·b + weight·g, then w ← w - lr·b, or with Nesterov's look-ahead w ← w - lr·(weight·g + μ·b)."""
    if flags.momentum:
        (buffer,) = state
        if _takes_it_whole(grad, h):
            buffer.copy_(grad)
        else:
            add_(buffer.mul_(h.buffer_decay), grad, h.grad_weight)
        grad = add_(grad * h.grad_weight, buffer, h.momentum) if flags.nesterov else buffer
    add_(param, grad, -h.lr)


def _takes_it_whole(grad: Tensor, h: SGDScalars) -> bool:
    """Whether the buffer becomes the gradient, as it is: the product of 1 and a complex inf is no longer that."""
    if isinstance(h.buffer_decay, Tensor) or h.buffer_decay != 0:
        return False
    return not (isinstance(h.grad_weight, Tensor) or grad.is_sparse) and h.grad_weight == 1


def sgd_scalars(step: Scalar, lr: Scalar, momentum: Scalar, dampening: Scalar) -> SGDScalars:
    """torch starts the buffer with the whole gradient: dampening acts from the second step on."""
    first = step == 1
    if isinstance(first, Tensor):
        return SGDScalars(lr, momentum * ~first, 1 - dampening * ~first, momentum)
    return SGDScalars(lr, 0.0 if first else momentum, 1.0 if first else 1 - dampening, momentum)


def _sparse_refusal(group: dict[str, Any]) -> str | None:
    return "does not support sparse gradients with nesterov=True" if group["nesterov"] else None


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum, dampening and Nesterov's look-ahead.

    .. math::
        g_t &= \nabla f_t(w_{t-1}) + \lambda w_{t-1} \\
        b_t &= \mu b_{t-1} + (1 - \tau) g_t \qquad (b_1 = g_1) \\
        w_t &= w_{t-1} - \eta \, (b_t \text{, or } g_t + \mu b_t \text{ with nesterov})

    A drop-in for :class:`torch.optim.SGD`: same arguments, group keys and state keys, and on the eager backend the
    same bits. The buffer starts as the first gradient, so ``dampening`` acts from the second step on; for a moving
    average that starts at zero see :class:`Momentum`.

    Args:
        params: parameters or named parameters, or dicts of parameter groups.
        lr: learning rate η, per step. Default 1e-3, as torch.
        momentum: μ ≥ 0. Default 0: no buffer is kept.
        dampening: τ. Default 0.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled: it passes through momentum and is multiplied by
            lr). Default 0.
        nesterov: look ahead; needs ``momentum > 0`` and ``dampening == 0``.
        maximize: ascend instead of descend.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        capturable: work out on the device what follows from hyperparameters, so that the step can be captured in a CUDA
            graph and a learning rate tensor may change between replays.
        decoupled_weight_decay: multiply the weight by 1 - lr·λ before the step instead of adding λ·w to the gradient.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``momentum_buffer``, shaped like the parameter, when ``momentum > 0``.

    Raises:
        ValueError: for a value out of range or flags that exclude each other; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.SGD([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.8

    Source: Robbins and Monro 1951; Polyak 1964; Sutskever et al. 2013, "On the importance of initialization and
    momentum in deep learning" (the form with the learning rate outside is torch's).
    """

    counterpart = torch.optim.SGD
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "gd": {},
        "nag": {"momentum": 0.9, "nesterov": True},
        "nesterov": {"momentum": 0.9, "nesterov": True},
    }
    rule: ClassVar[Rule] = Rule(sgd, sgd_scalars, kernel="sgd", complex_native=True)
    has_step: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        capturable: bool = False,
        decoupled_weight_decay: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
            **unusual(capturable=capturable, decoupled_weight_decay=decoupled_weight_decay),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        name = cls.__name__
        checks.learning_rate(name, group["lr"])
        checks.non_negative(name, "momentum", group["momentum"], "Invalid momentum value")
        checks.finite(name, "dampening", group["dampening"])
        checks.non_negative(name, "weight_decay", group["weight_decay"], "Invalid weight_decay value")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"{name}: Nesterov momentum requires a momentum and zero dampening, "
                f"got momentum={group['momentum']}, dampening={group['dampening']}"
            )

    def refuses_sparse(self, group: dict[str, Any]) -> str | None:
        """Why sparse gradients are not taken, or None."""
        return _sparse_refusal(group)

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def flags(self, group: dict[str, Any]) -> SGDFlags:
        """The choices that change the code."""
        return SGDFlags(momentum=group["momentum"] != 0, nesterov=bool(group["nesterov"]))

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["momentum"], group["dampening"]


def heavy_ball_scalars(step: Scalar, lr: Scalar, momentum: Scalar) -> SGDScalars:
    """v ← μv + g, w ← w - ηv"""
    return SGDScalars(lr, momentum, 1.0, momentum)


def ema_scalars(step: Scalar, lr: Scalar, momentum: Scalar) -> SGDScalars:
    """v ← βv + (1 - β)g, w ← w - ηv"""
    return SGDScalars(lr, momentum, 1 - momentum, momentum)


def velocity_scalars(step: Scalar, lr: Scalar, momentum: Scalar) -> SGDScalars:
    """v ← μv - αg, w ← w + v: the rule's "gradient weight" is -α and what it multiplies the buffer with is 1."""
    return SGDScalars(-1.0, momentum, -lr, momentum)


MOMENTUM_RULES: dict[str, Rule] = {
    "heavy-ball": Rule(sgd, heavy_ball_scalars, kernel="momentum_heavy_ball", complex_native=True),
    "ema": Rule(sgd, ema_scalars, kernel="momentum_ema", complex_native=True),
    "velocity": Rule(sgd, velocity_scalars, kernel="momentum_velocity", complex_native=True),
}


class Momentum(Optimizer):
    r"""Momentum in the three spellings that textbooks use, each starting from v₀ = 0.

    .. math::
        \text{heavy-ball:} \quad & v_t = \mu v_{t-1} + g_t, & w_t &= w_{t-1} - \eta v_t \\
        \text{ema:} \quad & v_t = \beta v_{t-1} + (1 - \beta) g_t, & w_t &= w_{t-1} - \eta v_t \\
        \text{velocity:} \quad & v_t = \mu v_{t-1} - \eta g_t, & w_t &= w_{t-1} + v_t

    With a constant learning rate ``heavy-ball`` and ``velocity`` walk the same path, and ``ema`` walks it with η
    smaller by 1 - β. They part as soon as a schedule changes the learning rate: ``velocity`` remembers the rates that
    past gradients were taken with, the other two apply today's rate to all of them. ``torch.optim.SGD`` with
    ``dampening`` is *not* ``ema``: its first step sets v = g.

    ``nesterov=True`` looks ahead. The parameters hold the look-ahead point itself, which is where the gradient is
    taken, so the update uses the new velocity once more:

    .. math::
        \text{heavy-ball:} \quad & w_t = w_{t-1} - \eta \, (g_t + \mu v_t) \\
        \text{ema:} \quad & w_t = w_{t-1} - \eta \, ((1 - \beta) g_t + \beta v_t) \\
        \text{velocity:} \quad & w_t = w_{t-1} + \mu v_t - \eta g_t

    Args:
        params: parameters or named parameters, or dicts of parameter groups.
        lr: learning rate η, per step. No default: the forms need rates of different size.
        momentum: μ (or β) in [0, 1). Default 0.9, the notes' and the field's usual choice.
        form: ``"heavy-ball"`` (default, torch's convention), ``"ema"`` or ``"velocity"``.
        nesterov: look ahead, as above.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        maximize, foreach, differentiable, fused, capturable, decoupled_weight_decay, backend: as for :class:`SGD`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``momentum_buffer``, v above.

    Raises:
        ValueError: for a value out of range or an unknown form; the message says what is allowed.
        RuntimeError: as :class:`SGD`.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Momentum([w], lr=0.1, momentum=0.9, form="ema")
        >>> for _ in range(2):
        ...     opt.zero_grad()
        ...     w.square().sum().backward()
        ...     opt.step()
        >>> round(w.item(), 6)
        0.9424

    Source: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Nesterov 1983; Sutskever
    et al. 2013 for ``velocity``.
    """

    has_step: ClassVar[bool] = False
    rule: ClassVar[Rule] = MOMENTUM_RULES["heavy-ball"]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        momentum: float = 0.9,
        form: Form = "heavy-ball",
        nesterov: bool = False,
        *,
        weight_decay: float | Tensor = 0,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        capturable: bool = False,
        decoupled_weight_decay: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "form": form,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
            **unusual(capturable=capturable, decoupled_weight_decay=decoupled_weight_decay),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        name = cls.__name__
        checks.learning_rate(name, group["lr"])
        checks.unit_interval(name, "momentum", group["momentum"], "Invalid momentum value")
        checks.one_of(name, "form", group["form"], tuple(MOMENTUM_RULES))
        checks.non_negative(name, "weight_decay", group["weight_decay"], "Invalid weight_decay value")

    def group_rule(self, group: dict[str, Any]) -> Rule:
        """The rule that this group follows: its form decides."""
        checks.one_of(type(self).__name__, "form", group["form"], tuple(MOMENTUM_RULES))
        return MOMENTUM_RULES[group["form"]]

    def refuses_sparse(self, group: dict[str, Any]) -> str | None:
        """Why sparse gradients are not taken, or None."""
        return _sparse_refusal(group)

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("momentum_buffer",)

    def flags(self, group: dict[str, Any]) -> SGDFlags:
        """The choices that change the code."""
        return SGDFlags(momentum=True, nesterov=bool(group["nesterov"]))

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["momentum"]
