"""AdamW that slows down where its second moment lags behind the gradients: :class:`StableAdamW`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_number, addcmul_, lerp_, mean, settled
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Decay, Norms, Rule, Scalar
from ..engine.scalars import penalty


class StableAdamWScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    eps: Scalar
    eps_sq: Scalar
    weight_decay: Scalar


class StableAdamWFlags(NamedTuple):
    """The choices that change the code."""

    decay: bool


def stable_adamw(
    param: Tensor, grad: Tensor, state: Sequence[Tensor], h: StableAdamWScalars, flags: StableAdamWFlags
) -> None:
    """Algorithm 2 of Wortsman et al.: AdamW with lr divided by max(1, RMS of g / √u)."""
    exp_avg, exp_avg_sq = state
    lerp_(exp_avg, grad, h.weight1)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    # A NaN must pass, as it does in the kernels: clamp keeps it.
    rms = mean(grad.square() / exp_avg_sq.clamp(min=h.eps_sq)).sqrt()
    lr = settled(h.lr / rms.clamp(min=1.0))
    if flags.decay:
        param.mul_(1 - lr * h.weight_decay)
    param.sub_(exp_avg * lr / add_number(exp_avg_sq.sqrt(), h.eps))


def stable_adamw_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, weight_decay: Scalar, corrected: float
) -> StableAdamWScalars:
    """The averages are kept free of bias: the weight of a new gradient is (1 - β) / (1 - βᵗ)."""
    weight1 = (1 - beta1) / (1 - corrected * beta1**step)
    weight2 = (1 - beta2) / (1 - corrected * beta2**step)
    return StableAdamWScalars(lr, weight1, 1 - weight2, weight2, eps, eps * eps, weight_decay)


class StableAdamW(Optimizer):
    r"""StableAdamW: AdamW with Adafactor's update clipping in place of gradient clipping.

    .. math::
        m_t &= \hat\beta_1 m_{t-1} + (1 - \hat\beta_1) g_t, \qquad
            u_t = \hat\beta_2 u_{t-1} + (1 - \hat\beta_2) g_t^2, \qquad
            \hat\beta = \beta \, (1 - \beta^{t-1}) / (1 - \beta^t) \\
        \mathrm{RMS}_t &= \sqrt{\operatorname{mean}(g_t^2 / \max(u_t, \epsilon^2))}, \qquad
            \eta_t = \eta / \max(1, \mathrm{RMS}_t) \\
        w_t &= w_{t-1} - \eta_t \lambda w_{t-1} - \eta_t m_t / (\sqrt{u_t} + \epsilon)

    with the mean over one parameter tensor. A layer whose gradients suddenly grow takes smaller steps until its second
    moment has caught up.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: at most about the size of one step of any weight. Default 2e-3, the paper's.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.99), as the paper recommends.
        eps: ε > 0. Default 1e-6, the paper's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η_t·λ. Default 0.2, the paper's (for CLIP models).
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the paper's form.
        bias_correction: use :math:`\hat\beta` as above; ``False`` uses plain β. Default True.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq`` (free of bias), shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.StableAdamW([w], lr=0.1, weight_decay=0)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 4)
        0.9

    Source: Wortsman et al. 2023, "Stable and low-precision training for large-scale vision-language models", arXiv
    2304.13013.
    """

    rule: ClassVar[Rule] = Rule(
        stable_adamw,
        stable_adamw_scalars,
        kernel="stable_adamw",
        norms=Norms(
            1,
            1,
            measured=("grad", "exp_avg_sq"),
            updated=("param", "exp_avg", "exp_avg_sq"),
            advances=True,
        ),
    )

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        *,
        decoupled_weight_decay: bool = True,
        bias_correction: bool = True,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "bias_correction": bias_correction,
            **flags,
        }
        super().__init__(params, defaults, **engine_options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.betas(name, group["betas"])
        checks.positive(name, "eps", group["eps"], "Invalid epsilon value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def decay(self, group: dict[str, Any]) -> Decay:
        """The decoupled form is the rule's own: it takes the layer's learning rate."""
        form = super().decay(group)
        return "none" if form == "decoupled" else form

    def flags(self, group: dict[str, Any]) -> StableAdamWFlags:
        """The choices that change the code."""
        return StableAdamWFlags(decay=super().decay(group) == "decoupled")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        corrected = float(group["bias_correction"])
        return group["lr"], *group["betas"], group["eps"], penalty(group, "weight_decay"), corrected
