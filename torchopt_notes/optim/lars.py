"""Momentum whose steps are in proportion to the size of each layer's weights: :class:`LARS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, norms, scaled
from ..engine.optimizer import Optimizer
from ..engine.options import Options, split_options
from ..engine.rule import Decay, Norms, Rule, Scalar, Variant
from .trust import trust_ratio


class LARSScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    lr: Scalar
    momentum: Scalar
    weight_decay: Scalar
    trust_coefficient: Scalar
    eps: Scalar


class LARSFlags(NamedTuple):
    """The choices that change the code."""

    adapt: bool
    decay: bool
    momentum: bool
    nesterov: bool


def lars(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: LARSScalars, flags: LARSFlags) -> None:
    """Algorithm 1 of You et al.: v ← μv + lr·κ‖w‖/(‖g‖ + λ‖w‖)·(g + λw), then w ← w - v."""
    local_lr = h.lr
    if flags.adapt:
        weight_norm, grad_norm = norms(param, grad)
        # Where the gradient vanishes, the ratio is 1 whatever decay and ε say.
        size = torch.where(grad_norm == 0, 0.0, grad_norm + weight_norm * h.weight_decay + h.eps)
        local_lr = trust_ratio(weight_norm * h.trust_coefficient, size) * h.lr
    if flags.decay:
        grad = grad + scaled(param, h.weight_decay)
    step = grad * local_lr
    if flags.momentum:
        (buffer,) = state
        buffer.mul_(h.momentum).add_(step)
        step = add_(step, buffer, h.momentum) if flags.nesterov else buffer
    param.sub_(step)


def lars_scalars(
    step: Scalar, lr: Scalar, momentum: Scalar, weight_decay: Scalar, trust_coefficient: Scalar, eps: Scalar
) -> LARSScalars:
    """The hyperparameters as they are."""
    return LARSScalars(lr, momentum, weight_decay, trust_coefficient, eps)


class LARS(Optimizer):
    r"""LARS: momentum with a learning rate for each layer, in proportion to the size of its weights.

    .. math::
        \eta_t &= \eta \, \kappa \, \frac{\|w_{t-1}\|}{\|g_t\| + \lambda \|w_{t-1}\| + \epsilon} \\
        v_t &= \mu v_{t-1} + \eta_t (g_t + \lambda w_{t-1}) \\
        w_t &= w_{t-1} - v_t

    with the Euclidean norms over one parameter tensor ("layer"). The ratio is 1 where the weights or the gradient are
    zero. Made for convolutional networks with very large batches.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η. A step is η·κ times the size of the layer's weights. No default: it follows the batch size.
        momentum: μ in [0, 1). Default 0.9, the paper's; 0 keeps no buffer.
        weight_decay: λ ≥ 0, added to the gradient and to the ratio's denominator. Default 0.
        trust_coefficient: κ > 0. Default 0.001, the paper's.
        eps: ε ≥ 0, added to the denominator of the ratio. Default 0, the paper's.
        nesterov: step along :math:`\eta_t (g_t + \lambda w) + \mu v_t` instead of :math:`v_t`. Needs ``momentum > 0``.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead, outside of the ratio. Default
            False, the paper's form.
        exempt_1d: neither scale nor decay tensors with fewer than two dimensions (biases, gains). Default False.
        options: maximize, foreach, capturable, differentiable, fused, backend; see :class:`~torchopt_notes.Adam`.
            ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``momentum_buffer``, v above, when ``momentum > 0``.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> opt = torchopt_notes.LARS([w], lr=1.0, trust_coefficient=0.1)
        >>> w.grad = torch.tensor([0.0, 2.0])
        >>> opt.step()
        >>> [round(x, 4) for x in w.tolist()]
        [3.0, 3.5]

    Source: You, Gitman and Ginsburg 2017, "Large Batch Training of Convolutional Networks", arXiv 1708.03888.
    """

    rule: ClassVar[Rule] = Rule(
        lars,
        lars_scalars,
        kernel="lars",
        norms=Norms(2, 1, measured=("param", "grad"), updated=("param", "grad", "momentum_buffer")),
    )
    has_step: ClassVar[bool] = False

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor,
        momentum: float = 0.9,
        weight_decay: float = 0,
        trust_coefficient: float = 0.001,
        eps: float = 0,
        nesterov: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        exempt_1d: bool = False,
        **options: Unpack[Options],
    ) -> None:
        flags, engine_options = split_options(options)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "nesterov": nesterov,
            "decoupled_weight_decay": decoupled_weight_decay,
            "exempt_1d": exempt_1d,
            **flags,
        }
        super().__init__(params, defaults, **engine_options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.unit_interval(name, "momentum", group["momentum"], "Invalid momentum value")
        checks.positive(name, "trust_coefficient", group["trust_coefficient"], "Invalid trust_coefficient value")
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")
        if group["nesterov"] and group["momentum"] == 0:
            raise ValueError(f"{name}: nesterov=True requires a momentum, got momentum={group['momentum']}")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("momentum_buffer",) if group["momentum"] > 0 else ()

    def decay(self, group: dict[str, Any]) -> Decay:
        """The coupled form is the rule's own: the gradient is measured without it."""
        form = super().decay(group)
        return "none" if form == "coupled" else form

    def flags(self, group: dict[str, Any]) -> LARSFlags:
        """The choices that change the code."""
        return LARSFlags(
            adapt=True,
            decay=super().decay(group) == "coupled",
            momentum=group["momentum"] > 0,
            nesterov=bool(group["nesterov"]),
        )

    def param_variant(self, variant: Variant, group: dict[str, Any], param: Tensor) -> Variant:
        """Tensors with fewer than two dimensions may be exempt from ratio and decay."""
        if not (group["exempt_1d"] and param.dim() < 2):
            return variant
        flags = LARSFlags(*variant.flags)._replace(adapt=False, decay=False)
        return variant._replace(flags=flags).without_decay()

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        weight_decay = 0.0 if super().decay(group) != "coupled" else group["weight_decay"]
        return group["lr"], group["momentum"], weight_decay, group["trust_coefficient"], group["eps"]
