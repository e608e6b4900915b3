"""Adam's direction, scaled layer by layer to the size of the weights: :class:`LAMB`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, add_number, addcmul_, lerp_, norm, scaled
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Decay, Norms, Rule, Scalar, Variant
from .trust import trust_ratio


class LAMBScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    correction1: Scalar
    correction2_sqrt: Scalar
    eps: Scalar
    weight_decay: Scalar
    clamp_value: Scalar


class LAMBFlags(NamedTuple):
    """The choices that change the code."""

    adapt: bool
    decay: bool
    clamp: bool
    trust_clip: bool


def lamb(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: LAMBScalars, flags: LAMBFlags) -> None:
    """Algorithm 2 of You et al.: Adam's direction plus λw, scaled by φ(‖w‖) / ‖direction‖."""
    exp_avg, exp_avg_sq = state
    lerp_(exp_avg, grad, h.weight1)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    del grad  # a transformed gradient is ours, and the direction can have its memory
    denom = add_number(exp_avg_sq.sqrt() * h.correction2_sqrt, h.eps)
    update = exp_avg * h.correction1 / denom
    if flags.decay:
        update = update + scaled(param, h.weight_decay)
    if flags.adapt:
        weight_norm = norm(param)
        if flags.clamp:
            weight_norm = weight_norm.clamp(max=h.clamp_value)
        ratio = trust_ratio(weight_norm, norm(update))
        update = update * (ratio.clamp(max=1.0) if flags.trust_clip else ratio)
    add_(param, update, -h.lr)


def lamb_scalars(
    step: Scalar,
    lr: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    eps: Scalar,
    weight_decay: Scalar,
    clamp_value: float,
    corrected: float,
) -> LAMBScalars:
    """1 - β is taken here, in double precision, where it loses nothing. ``corrected`` is 1, or 0 to leave the bias."""
    return LAMBScalars(
        lr=lr,
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        correction1=1 / (1 - corrected * beta1**step),
        correction2_sqrt=1 / (1 - corrected * beta2**step) ** 0.5,
        eps=eps,
        weight_decay=weight_decay,
        clamp_value=clamp_value,
    )


LAMB_NORMS = Norms(
    sums=2,
    numbers=1,
    measured=("param", "grad", "exp_avg", "exp_avg_sq"),
    updated=("param", "exp_avg", "exp_avg_sq"),
    advances=True,
)


class LAMB(Optimizer):
    r"""LAMB: Adam's direction for each layer, scaled so that a step is lr times the size of the layer's weights.

    .. math::
        u_t &= \hat m_t / (\sqrt{\hat v_t} + \epsilon) + \lambda w_{t-1} \\
        w_t &= w_{t-1} - \eta \, \frac{\phi(\|w_{t-1}\|)}{\|u_t\|} \, u_t

    with Adam's moments :math:`\hat m, \hat v` of :math:`g_t`, and the Euclidean norms over one parameter tensor
    ("layer"). The ratio is 1 where either norm is zero. Made for very large batches.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: the size of a step relative to the size of the layer's weights. Default 1e-3.
        betas: decay rates of the two moments, each in [0, 1). Default (0.9, 0.999), the paper's.
        eps: ε ≥ 0, added to the root. Default 1e-6, the paper's.
        weight_decay: λ ≥ 0, added to the direction, inside of the ratio. Default 0.01, the paper's.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, the paper's form.
        bias_correction: divide the moments by 1 - βᵗ. Default True, as in the paper's algorithm; some implementations
            leave it out.
        clamp_value: φ(x) = min(x, clamp_value). Default None: φ(x) = x.
        always_adapt: scale layers without weight decay too. Default True, as in the paper; ``False`` uses a ratio of 1
            where λ = 0.
        trust_clip: no ratio above 1. Default False.
        exempt_1d: neither scale nor decay tensors with fewer than two dimensions (biases, gains). Default False.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq``, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> opt = torchopt_notes.LAMB([w], lr=0.1, weight_decay=0)
        >>> w.grad = torch.tensor([1.0, 0.0])
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [2.5, 4.0]

    Source: You et al. 2020, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv
    1904.00962.
    """

    unsupported: ClassVar[Mapping[str, str]] = {
        "decouple_lr": "its decay lies inside of the trust ratio, which the size of the decay cancels out of"
    }
    rule: ClassVar[Rule] = Rule(lamb, lamb_scalars, kernel="lamb", norms=LAMB_NORMS)

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        decoupled_weight_decay: bool = True,
        bias_correction: bool = True,
        clamp_value: float | None = None,
        always_adapt: bool = True,
        trust_clip: bool = False,
        exempt_1d: bool = False,
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
            "clamp_value": clamp_value,
            "always_adapt": always_adapt,
            "trust_clip": trust_clip,
            "exempt_1d": exempt_1d,
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
        if group["clamp_value"] is not None:
            checks.positive(name, "clamp_value", group["clamp_value"], "Invalid clamp_value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def decay(self, group: dict[str, Any]) -> Decay:
        """The decoupled form is the rule's own: it belongs inside of the ratio."""
        form = super().decay(group)
        return "none" if form == "decoupled" else form

    def flags(self, group: dict[str, Any]) -> LAMBFlags:
        """The choices that change the code."""
        return LAMBFlags(
            adapt=bool(group["always_adapt"] or super().decay(group) != "none"),
            decay=super().decay(group) == "decoupled",
            clamp=group["clamp_value"] is not None,
            trust_clip=bool(group["trust_clip"]),
        )

    def param_variant(self, variant: Variant, group: dict[str, Any], param: Tensor) -> Variant:
        """Tensors with fewer than two dimensions may be exempt from ratio and decay."""
        if not (group["exempt_1d"] and param.dim() < 2):
            return variant
        flags = LAMBFlags(*variant.flags)._replace(adapt=False, decay=False)
        return variant._replace(flags=flags).without_decay()

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        clamp_value = 0.0 if group["clamp_value"] is None else group["clamp_value"]
        corrected = float(group["bias_correction"])
        return group["lr"], *group["betas"], group["eps"], group["weight_decay"], clamp_value, corrected
