"""Adam with a second, much slower mean of the gradients: :class:`AdEMAMix`."""

from __future__ import annotations

import math
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


class AdEMAMixScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    fast_size: Scalar
    slow_size: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    weight3: Scalar
    bias_correction2: Scalar
    eps: Scalar


def ademamix(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdEMAMixScalars, flags: tuple[()]) -> None:
    """Adam's averages and a slow one; the step is along the fast and the slow average, each with its own size."""
    exp_avg, exp_avg_slow, exp_avg_sq = state
    lerp_(exp_avg, grad, h.weight1)
    lerp_(exp_avg_slow, grad, h.weight3)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    del grad  # a transformed gradient is ours, and the denominator can have its memory
    denom = add_number(exp_avg_sq.div(h.bias_correction2).sqrt(), h.eps)
    addcdiv_(addcdiv_(param, exp_avg, denom, -h.fast_size), exp_avg_slow, denom, -h.slow_size)


def ademamix_scalars(
    step: Scalar,
    lr: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    beta3: Scalar,
    eps: Scalar,
    alpha: Scalar,
    t_alpha: Scalar,
    t_beta3: Scalar,
) -> AdEMAMixScalars:
    """The schedules of α, from 0, and of β₃, from β₁; a length of 1 or less means none."""
    # 1 / log β, and with it the half-life, goes evenly from β₁'s to β₃'s: log β₃ / log β⁽ᵗ⁾ goes from this to 1.
    start = _at_most_one(_log(beta3) / _log(beta1))
    progress = _at_most_one(step / t_beta3)
    beta3 = beta3 ** (1 / (progress + (1 - progress) * start))
    return AdEMAMixScalars(
        fast_size=lr / (1 - beta1**step),
        slow_size=lr * alpha * _at_most_one(step / t_alpha),
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        weight3=1 - beta3,
        bias_correction2=1 - beta2**step,
        eps=eps,
    )


def _at_most_one(x: Scalar) -> Scalar:
    return x.clamp(max=1.0) if isinstance(x, Tensor) else min(1.0, x)


def _length(value: float | Tensor | None) -> Scalar:
    """A schedule's length in double precision; a tensor stays one, which nobody waits for."""
    if isinstance(value, Tensor):
        return value.double()
    return float(value or 1)


def _log(x: Scalar) -> Scalar:
    if isinstance(x, Tensor):
        return x.log()
    return math.log(x) if x > 0 else -math.inf


class AdEMAMix(Optimizer):
    r"""AdEMAMix: Adam that also steps along a mean of the gradients of many thousand steps.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, & \hat m_t &= m_t / (1 - \beta_1^t) \\
        s_t &= \beta_3^{(t)} s_{t-1} + (1 - \beta_3^{(t)}) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, & \hat v_t &= v_t / (1 - \beta_2^t) \\
        w_t &= (1 - \eta \lambda) w_{t-1} - \eta \, (\hat m_t + \alpha^{(t)} s_t) / (\sqrt{\hat v_t} + \epsilon)

    The slow mean s is not corrected for its bias, so that it grows into the step. With α = 0 this is AdamW. The slow
    mean can upset the first steps of a long training; two schedules then bring it in:

    .. math::
        \alpha^{(t)} &= \alpha \, \min(t / T_\alpha, 1) \\
        \beta_3^{(t)} &= \min\!\left(\exp\!\left(\frac{\log \beta_1 \log \beta_3}
            {(1 - t / T_{\beta_3}) \log \beta_3 + (t / T_{\beta_3}) \log \beta_1}\right), \beta_3\right)

    the second of which lets the half-life of s grow evenly from that of m. After T steps both stay at their last value.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: a step of any weight is up to about 1 + α times as large. Default 1e-3, Adam's.
        betas: β₁, β₂ and β₃, the decay rates of the fast mean, of the squares' and of the slow mean, each in [0, 1).
            Default (0.9, 0.999, 0.9999), the paper's.
        alpha: α ≥ 0, the weight of the slow mean. Default 5, as the authors' JAX code and within the paper's 4 to 10;
            their PyTorch code has 2.
        eps: ε ≥ 0, added to the root, outside of it. Default 1e-8, Adam's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0.
        t_alpha: :math:`T_\alpha` in steps, or ``None`` for a constant α. Default None; the paper takes the length of
            the training.
        t_beta3: :math:`T_{\beta_3}` in steps, or ``None`` for a constant β₃. Default None; the paper takes the same as
            for α.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the paper's form.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg``, ``exp_avg_slow`` and ``exp_avg_sq``, m, s and v above, shaped like the
    parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.AdEMAMix([w], lr=0.1, betas=(0.9, 0.999, 0.99))
        >>> w.square().sum().backward()
        >>> opt.step()  # 0.1 · (2 + 5 · 0.01 · 2) / √(2²)
        >>> round(w.item(), 6)
        0.895

    Source: Pagliardini, Ablin and Grangier 2024, "The AdEMAMix Optimizer: Better, Faster, Older", arXiv 2409.03137,
    algorithm 1.
    """

    rule: ClassVar[Rule] = Rule(ademamix, ademamix_scalars, kernel="ademamix")

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        t_alpha: float | None = None,
        t_beta3: float | None = None,
        decoupled_weight_decay: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "t_alpha": t_alpha,
            "t_beta3": t_beta3,
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
        for argument in ("alpha", "eps"):
            text = "Invalid epsilon value" if argument == "eps" else f"Invalid {argument} value"
            checks.non_negative(name, argument, group[argument], text)
        for argument in ("t_alpha", "t_beta3"):
            if group[argument] is not None:
                checks.non_negative(name, argument, group[argument], f"Invalid {argument} value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_slow", "exp_avg_sq")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        lengths = (_length(group[name]) for name in ("t_alpha", "t_beta3"))
        return group["lr"], *group["betas"], group["eps"], group["alpha"], *lengths
