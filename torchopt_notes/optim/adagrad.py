"""Steps divided by the root of all squared gradients so far: :class:`Adagrad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, add_number, addcdiv_, addcmul_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar
from ..engine.transform import is_zero


class AdagradScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    eps: Scalar


class AdagradFlags(NamedTuple):
    """The choices that change the code."""

    eps_inside_sqrt: bool


def adagrad(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdagradScalars, flags: AdagradFlags) -> None:
    """G ← G + g², then w ← w - lr·g / (√G + ε), or with the ε inside the root."""
    (total,) = state
    if grad.is_sparse:
        _adagrad_sparse(param, grad.coalesce(), total, h, flags)
        return
    addcmul_(total, grad, grad, 1.0)
    addcdiv_(param, grad, _root(total, h, flags), -h.lr)


def _adagrad_sparse(param: Tensor, grad: Tensor, total: Tensor, h: AdagradScalars, flags: AdagradFlags) -> None:
    """The rows that have a gradient; the others' steps would be zero. Expects unique indices."""
    indices, values = grad.indices(), grad.values()
    total.add_(torch.sparse_coo_tensor(indices, values.pow(2), grad.shape, check_invariants=False))
    step = values / _root(total.sparse_mask(grad).values(), h, flags)
    add_(param, torch.sparse_coo_tensor(indices, step, grad.shape, check_invariants=False), -h.lr)


def _root(total: Tensor, h: AdagradScalars, flags: AdagradFlags) -> Tensor:
    return (total + h.eps).sqrt_() if flags.eps_inside_sqrt else add_number(total.sqrt(), h.eps)


def adagrad_scalars(step: Scalar, lr: Scalar, lr_decay: Scalar, eps: Scalar) -> AdagradScalars:
    """The learning rate of this step falls like 1 / (1 + decay·t)."""
    return AdagradScalars(lr / (1 + (step - 1) * lr_decay), eps)


class Adagrad(Optimizer):
    r"""Adagrad: divides each step by the root of the sum of all squared gradients so far.

    .. math::
        G_t &= G_{t-1} + g_t^2 \\
        w_t &= w_{t-1} - \frac{\eta}{1 + (t - 1) \, \kappa} \, g_t / (\sqrt{G_t} + \epsilon)

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. Weights that are rarely touched keep large steps, which is
    why it suits sparse gradients; these are taken, and touch only the rows they name. A drop-in for
    :class:`torch.optim.Adagrad`: same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: the size of the first step of any weight. Default 1e-2, as torch.
        lr_decay: κ ≥ 0, per step: the learning rate falls like 1 / (1 + κ·t). Default 0.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        initial_accumulator_value: G₀ ≥ 0, which softens the first steps. Default 0.
        eps: ε ≥ 0. Default 1e-10, as torch.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead.
        eps_inside_sqrt: divide by :math:`\sqrt{G_t + \epsilon}`, as some texts write it. Default False.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d) and ``sum``, G above, shaped like the parameter; both exist from the start, as in torch.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; weight
            decay with sparse gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Adagrad([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.9

    Source: Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Adagrad
    rule: ClassVar[Rule] = Rule(adagrad, adagrad_scalars, kernel="adagrad")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        capturable: bool = False,
        decoupled_weight_decay: bool = False,
        eps_inside_sqrt: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
            **unusual(
                capturable=capturable,
                decoupled_weight_decay=decoupled_weight_decay,
                eps_inside_sqrt=eps_inside_sqrt,
            ),
        }
        super().__init__(params, defaults, **options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, and the states of its parameters."""
        super().add_param_group(param_group)
        self.create_states(self.param_groups[-1])

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.non_negative(name, "lr_decay", group["lr_decay"], "Invalid lr_decay value")
        checks.non_negative(
            name,
            "initial_accumulator_value",
            group["initial_accumulator_value"],
            "Invalid initial_accumulator_value value",
        )
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")

    def refuses_sparse(self, group: dict[str, Any]) -> str | None:
        """Sparse gradients are taken, but not together with a decay; the words are torch's."""
        if is_zero(group["weight_decay"]):
            return None
        return "weight_decay option is not compatible with sparse gradients; set weight_decay=0"

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("sum",)

    def new_state(self, name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        """The initial accumulator; real and imaginary part are numbers of their own."""
        start = group["initial_accumulator_value"]
        value = complex(start, start) if param.is_complex() else start
        return torch.full_like(param, value, memory_format=torch.preserve_format, requires_grad=False)

    def share_memory(self) -> None:
        """Moves the sums into shared memory, for training in several processes."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def flags(self, group: dict[str, Any]) -> AdagradFlags:
        """The choices that change the code."""
        return AdagradFlags(eps_inside_sqrt=bool(option(group, "eps_inside_sqrt")))

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], group["lr_decay"], group["eps"]
