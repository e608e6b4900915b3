"""Adam whose denominator does not know the current gradient: :class:`ADOPT`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, addcmul_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Rule, Scalar


class ADOPTScalars(NamedTuple):
    """What the rule multiplies with at one step; ``first`` is 1 at the first step and 0 at all others."""

    lr: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    eps: Scalar
    clip: Scalar
    first: Scalar


class ADOPTFlags(NamedTuple):
    """The choices that change the code."""

    clip: bool


def adopt(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: ADOPTScalars, flags: ADOPTFlags) -> None:
    """m ← β₁m + (1 - β₁)·clip(g / max(√v, ε)), w ← w - lr·m, then v ← β₂v + (1 - β₂)g²; the first step sets v = g²."""
    exp_avg, exp_avg_sq = state
    direction = grad / exp_avg_sq.sqrt().clamp_min(h.eps)
    if flags.clip:
        direction.clamp_min_(-h.clip).clamp_max_(h.clip)
    lerp_(exp_avg, _unless(h.first, direction), h.weight1)
    del direction
    add_(param, exp_avg, -h.lr)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)


def _unless(first: Scalar, x: Tensor) -> Tensor:
    """``x``, or zeros at the first step. Chosen, not multiplied: without a v, ``x`` may hold anything there."""
    if isinstance(first, Tensor):
        return torch.where(first > 0, 0.0, x)
    return torch.zeros_like(x) if first else x


def adopt_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, clip_exponent: Scalar
) -> ADOPTScalars:
    """The limit grows from 1 at the second step on. What tells the first one apart is that 0⁰ = 1."""
    first = 0.0 ** (step - 1)
    return ADOPTScalars(
        lr=lr,
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2 * (1 - first),
        eps=eps,
        clip=(step - 1 + first) ** clip_exponent,
        first=first,
    )


class ADOPT(Optimizer):
    r"""ADOPT: Adam that divides each gradient by the root of the second moment before that gradient.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) \,
            \mathrm{clip}\!\left(\frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)}, \pm t^{1/4}\right) \\
        w_t &= w_{t-1} - \eta \, m_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2

    from :math:`v_0 = g_0^2`, with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. Since gradient and denominator
    are independent, it converges with any β₂. The first gradient only makes :math:`v_0`: ``step`` is t + 1, and the
    first call of ``step()`` moves no weight.

    The one thing that does act at the first call is decoupled weight decay. The authors' first code did so too; their
    later one begins with it at the second call.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 1e-3, the authors' code's.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.9999), the paper's.
        eps: ε ≥ 0, the least denominator. Default 1e-6, the paper's.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        clip_exponent: the exponent, 1/4 above, of the limit on the quotient. Default 0.25, the paper's; ``None`` does
            not clip, which is the paper's algorithm 1.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead. Default False, as the authors'
            code.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq``, m and v above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.ADOPT([w], lr=0.1)
        >>> for _ in range(2):
        ...     opt.zero_grad()
        ...     w.square().sum().backward()
        ...     opt.step()  # the second one: 0.1 · (1 - 0.9) · 2 / √(2²)
        >>> round(w.item(), 6)
        0.99

    Source: Taniguchi et al. 2024, "ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate",
    arXiv 2411.02853, algorithm 2 (clipped).
    """

    rule: ClassVar[Rule] = Rule(adopt, adopt_scalars, kernel="adopt")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0,
        clip_exponent: float | None = 0.25,
        *,
        decoupled_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "clip_exponent": clip_exponent,
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
        if group["clip_exponent"] is not None:
            checks.non_negative(name, "clip_exponent", group["clip_exponent"], "Invalid clip_exponent value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def flags(self, group: dict[str, Any]) -> ADOPTFlags:
        """The choices that change the code."""
        return ADOPTFlags(clip=group["clip_exponent"] is not None)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        exponent = 0.0 if group["clip_exponent"] is None else group["clip_exponent"]
        return group["lr"], *group["betas"], group["eps"], exponent
