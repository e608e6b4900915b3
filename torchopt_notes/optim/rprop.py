"""Steps that only the gradient's sign decides, each weight with a size of its own: :class:`Rprop`."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine.arithmetic import addcmul_
from ..engine.layout import real
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, unusual
from ..engine.rule import Rule, Scalar


class RpropScalars(NamedTuple):
    """What the rule multiplies with, and the bounds of its steps."""

    eta_minus: Scalar
    eta_plus: Scalar
    smallest: Scalar
    largest: Scalar


def rprop(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: RpropScalars, flags: tuple[()]) -> None:
    """s grows where the sign is the last one's and shrinks, with g ← 0, where it flips; then w ← w - s·sign(g)."""
    prev, step_size = state
    # The product rather than two signs, as in torch: it is zero where it underflows. Signs have no gradient to follow.
    factor = grad.detach() * prev.detach()
    same, flipped = factor > 0, factor < 0
    factor.fill_(1.0).masked_fill_(same, h.eta_plus).masked_fill_(flipped, h.eta_minus)
    step_size.mul_(factor).clamp_(h.smallest, h.largest)  # type: ignore[arg-type]
    del factor, same
    grad = grad.masked_fill(flipped, 0.0)
    addcmul_(param, grad.sign(), step_size, -1.0)
    prev.copy_(grad)


def rprop_scalars(step: Scalar, eta_minus: Scalar, eta_plus: Scalar, smallest: Scalar, largest: Scalar) -> RpropScalars:
    """Nothing depends on the step."""
    return RpropScalars(eta_minus, eta_plus, smallest, largest)


class Rprop(Optimizer):
    r"""Rprop: each weight has a step size of its own, which grows while its gradient keeps its sign.

    .. math::
        s_t &= \begin{cases}
            \min(\eta^+ s_{t-1}, s_{\max}) & g_t g_{t-1} > 0 \\
            \max(\eta^- s_{t-1}, s_{\min}), \text{ and } g_t \leftarrow 0 & g_t g_{t-1} < 0 \\
            s_{t-1} & \text{otherwise}
        \end{cases} \\
        w_t &= w_{t-1} - s_t \, \text{sign}(g_t)

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}` and :math:`s_0` the learning rate. After a change of sign
    the weight stays for one step, and the next step keeps its size. Meant for gradients of the whole data set: noise
    from small batches changes signs. A NaN has no sign: as in torch, the weight stays then too. A drop-in for
    :class:`torch.optim.Rprop`: same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: the size of the first step, in units of the weights. It is read when a parameter has its first gradient and
            never again: a schedule has no effect on the steps. Default 1e-2, as torch.
        etas: the pair (η⁻, η⁺), factors that a step size shrinks and grows by, 0 < η⁻ < 1 < η⁺. Default (0.5, 1.2),
            the paper's.
        step_sizes: the smallest and the largest size of a step, in units of the weights. Default (1e-6, 50), the
            paper's.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only). A sign's derivative is zero, so nothing
            flows back to the gradients.
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled: it can only change the sign). Default 0.
        decoupled_weight_decay: multiply the weight by 1 - lr·λ before the step instead; this uses today's lr.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``prev``, the last gradient, and ``step_size``, s above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Rprop([w], lr=0.1)
        >>> for _ in range(2):
        ...     opt.zero_grad()
        ...     w.square().sum().backward()
        ...     opt.step()
        >>> round(w.item(), 6)
        0.78

    Source: Riedmiller and Braun 1993, "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP
    Algorithm"; staying where the sign changes is the variant iRprop⁻ of Igel and Hüsken 2003, "Empirical Evaluation
    of the Improved Rprop Learning Algorithms".
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Rprop
    rule: ClassVar[Rule] = Rule(rprop, rprop_scalars, kernel="rprop")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
            **unusual(
                fused=fused,
                weight_decay=weight_decay,
                decoupled_weight_decay=decoupled_weight_decay,
            ),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        for argument in ("etas", "step_sizes"):
            values = group[argument]
            if not (isinstance(values, Sequence) and len(values) == 2 and all(isinstance(v, Real) for v in values)):
                raise ValueError(f"{name}: {argument} must be a pair of numbers, got {values!r}")
        eta_minus, eta_plus = group["etas"]
        if not 0 < eta_minus < 1 < eta_plus:
            raise ValueError(f"{name}: Invalid eta values: {eta_minus}, {eta_plus}; allowed are 0 < eta- < 1 < eta+")
        smallest, largest = group["step_sizes"]
        if not 0 <= smallest <= largest:
            raise ValueError(
                f"{name}: Invalid step_sizes: {smallest}, {largest}; they must be 0 <= smallest <= largest"
            )

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("prev", "step_size")

    def new_state(self, name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        """Steps begin with the learning rate, in the real and in the imaginary part."""
        if name != "step_size":
            return super().new_state(name, group, param)
        lr = group["lr"]
        if isinstance(lr, Tensor):  # copied: to read it would be to wait for its device
            state = super().new_state(name, group, param)
            real(state).copy_(lr.detach().squeeze())
            return state
        value = complex(lr, lr) if param.is_complex() else lr
        return torch.full_like(param, value, memory_format=torch.preserve_format, requires_grad=False)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return *group["etas"], *group["step_sizes"]
