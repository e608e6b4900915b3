"""Gradients scaled by a running norm of their layer, then momentum: :class:`NovoGrad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, norm, scaled, settled
from ..engine.layout import compute_dtype
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Decay, Norms, Rule, Scalar
from ..engine.scalars import penalty


class NovoGradScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    beta1: Scalar
    grad_weight: Scalar
    beta2: Scalar
    weight2: Scalar
    eps: Scalar
    weight_decay: Scalar


class NovoGradFlags(NamedTuple):
    """The choices that change the code."""

    decay: bool


def novograd(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: NovoGradScalars, flags: NovoGradFlags) -> None:
    """Algorithm 1 of Ginsburg et al.: v ← β₂v + (1 - β₂)‖g‖²; m ← β₁m + g / (√v + ε) + λw; w ← w - lr·m."""
    exp_avg, exp_avg_sq = state
    exp_avg_sq.mul_(h.beta2).add_(norm(grad).square() * h.weight2)
    unit = grad * settled(1 / (exp_avg_sq.sqrt() + h.eps))
    if flags.decay:
        unit = unit + scaled(param, h.weight_decay)
    add_(exp_avg.mul_(h.beta1), unit, h.grad_weight)
    add_(param, exp_avg, -h.lr)


def novograd_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, weight_decay: Scalar, averaged: float
) -> NovoGradScalars:
    """The running norm starts as the first gradient's. ``averaged`` is 1 to weigh gradients with 1 - β₁, or 0."""
    first = step == 1
    kept: Scalar = beta2 * (~first).double() if isinstance(first, Tensor) else (0.0 if first else beta2)
    return NovoGradScalars(lr, beta1, 1 - averaged * beta1, kept, 1 - kept, eps, weight_decay)


class NovoGrad(Optimizer):
    r"""NovoGrad: Adam with one second moment per layer, taken before the momentum.

    .. math::
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) \|g_t\|^2 \qquad (v_1 = \|g_1\|^2) \\
        m_t &= \beta_1 m_{t-1} + \left( \frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda w_{t-1} \right) \\
        w_t &= w_{t-1} - \eta \, m_t

    with the Euclidean norm over one parameter tensor ("layer"), so that the state is half of Adam's.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step. Default 1e-2, the paper's for large batches of images.
        betas: decay rates of momentum and norm, each in [0, 1). Default (0.95, 0.98), the paper's.
        eps: ε ≥ 0, added to the norm. Default 1e-8.
        weight_decay: λ ≥ 0, added to the scaled gradient, inside of the momentum. Default 0.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient before its norm is taken (coupled). Default True, the
            paper's form.
        grad_averaging: weigh the scaled gradient with 1 - β₁, as an average. Default False, as in the paper.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg``, shaped like the parameter, and ``exp_avg_sq`` (0-d, on the parameter's device,
    in fp32 or better).

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> opt = torchopt_notes.NovoGrad([w], lr=0.1)
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.94, 0.92]

    Source: Ginsburg et al. 2019, "Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep
    Networks", arXiv 1905.11286.
    """

    rule: ClassVar[Rule] = Rule(
        novograd,
        novograd_scalars,
        kernel="novograd",
        norms=Norms(1, 1, measured=("grad",), updated=("param", "grad", "exp_avg")),
        layouts=(("exp_avg_sq", "scalar"),),
    )

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.95, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        decoupled_weight_decay: bool = True,
        grad_averaging: bool = False,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "grad_averaging": grad_averaging,
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

    def state_dtype(self, name: str, group: dict[str, Any], param: Tensor) -> torch.dtype:
        """A sum over a whole layer is kept in compute precision."""
        return compute_dtype(param.dtype) if name == "exp_avg_sq" else param.dtype

    def new_state(self, name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        """Zeros; the second moment is one number."""
        if name == "exp_avg_sq":
            return torch.zeros((), dtype=self.state_dtype(name, group, param), device=param.device)
        return super().new_state(name, group, param)

    def decay(self, group: dict[str, Any]) -> Decay:
        """The decoupled form is the rule's own: it goes through the momentum."""
        form = super().decay(group)
        return "none" if form == "decoupled" else form

    def flags(self, group: dict[str, Any]) -> NovoGradFlags:
        """The choices that change the code."""
        return NovoGradFlags(decay=super().decay(group) == "decoupled")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        averaged = float(group["grad_averaging"])
        return group["lr"], *group["betas"], group["eps"], penalty(group, "weight_decay"), averaged
