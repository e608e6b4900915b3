"""Adam with Nesterov's look-ahead, taken from the change of the gradient: :class:`Adan`."""

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


class AdanScalars(NamedTuple):
    """What the rule multiplies with at one step; ``weight2`` and ``ahead`` are 0 at the first one."""

    grad_size: Scalar
    diff_size: Scalar
    weight1: Scalar
    weight2: Scalar
    ahead: Scalar
    beta3: Scalar
    weight3: Scalar
    bias_correction3: Scalar
    eps: Scalar


def adan(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdanScalars, flags: tuple[()]) -> None:
    """Averages of g, of its change d and of (g + β₂d)²; the step is along the first two, each with its own size."""
    exp_avg, exp_avg_diff, exp_avg_sq, previous_grad = state
    change = grad - previous_grad
    lerp_(exp_avg, grad, h.weight1)
    lerp_(exp_avg_diff, change, h.weight2)
    ahead = change.mul_(h.ahead).add_(grad)
    addcmul_(exp_avg_sq.mul_(h.beta3), ahead, ahead, h.weight3)
    del change, ahead
    previous_grad.copy_(grad)
    del grad  # a transformed gradient is ours, and the denominator can have its memory
    denom = add_number(exp_avg_sq.div(h.bias_correction3).sqrt(), h.eps)
    addcdiv_(addcdiv_(param, exp_avg, denom, -h.grad_size), exp_avg_diff, denom, -h.diff_size)


def adan_scalars(step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, beta3: Scalar, eps: Scalar) -> AdanScalars:
    """A gradient has not changed when it is the first. What tells that step apart is that 0⁰ = 1."""
    later = 1 - 0.0 ** (step - 1)
    return AdanScalars(
        grad_size=lr / (1 - beta1**step),
        diff_size=lr * beta2 / (1 - beta2**step),
        weight1=1 - beta1,
        weight2=(1 - beta2) * later,
        ahead=beta2 * later,
        beta3=beta3,
        weight3=1 - beta3,
        bias_correction3=1 - beta3**step,
        eps=eps,
    )


class Adan(Optimizer):
    r"""Adan: Adam whose two moments look ahead as Nesterov's momentum does, by the change of the gradient.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, & \hat m_t &= m_t / (1 - \beta_1^t) \\
        d_t &= \beta_2 d_{t-1} + (1 - \beta_2) (g_t - g_{t-1}), & \hat d_t &= d_t / (1 - \beta_2^t) \\
        n_t &= \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 (g_t - g_{t-1}))^2, & \hat n_t &= n_t / (1 - \beta_3^t) \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \eta \, (\hat m_t + \beta_2 \hat d_t) / (\sqrt{\hat n_t} + \epsilon)

    where :math:`g_1 - g_0` counts as zero, for each parameter at its own first gradient. As in the authors' code, the β
    are decay rates: the paper writes β for 1 - β here. Also as there, the averages start at zero and are corrected for
    it; the paper's algorithm starts them at the first gradient instead.

    One thing differs: weight decay is decoupled as in AdamW, which the authors' code offers as ``no_prox``. The paper's
    is proximal: it divides the weight by 1 + η·λ after the step. The two agree up to the square of η·λ, and its product
    with the step.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 1e-3, the authors' code's; they
            suggest 5 to 10 times Adam's.
        betas: decay rates of the three averages, each in [0, 1). Default (0.98, 0.92, 0.99), the paper's
            (0.02, 0.08, 0.01).
        eps: ε ≥ 0, added to the root, outside of it. Default 1e-8, the authors' code's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0, the authors' code's; the paper's
            experiments have 0.02.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq`` and ``previous_grad``, m, d, n and the last
    gradient above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Adan([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.9

    Source: Xie et al. 2022, "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models",
    arXiv 2208.06677, algorithm 1.
    """

    rule: ClassVar[Rule] = Rule(adan, adan_scalars, kernel="adan")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
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
        checks.betas(name, group["betas"], count=3)
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"]
