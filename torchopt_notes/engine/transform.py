"""What happens to a gradient before the rule sees it, and to the parameter before and after.

In this order: scale (AMP, clipping by the norm of all gradients), adaptive clipping, clipping by value, sign, weight
decay and L1 penalty; then the rule; then the decays that look at what the rule did. Written once here for the eager and
compiled backends and once in ``kernels/skeleton.py`` for Triton, so that no optimizer implements any of it itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .arithmetic import add_, as_it_is
from .norms import PIECE, total_norm, wide
from .options import option
from .rule import L1, Decay, Scalar, Transform


class Numbers(NamedTuple):
    """What the transform multiplies and compares with, for one parameter group at one step.

    Attributes:
        max_value: the largest element that clipping by value leaves.
        adaptive_clip, adaptive_eps: the largest ratio of a unit's gradient to its weights, and the least size that
            these count as.
        decay: λ added to the gradient (coupled), 1 - lr·λ times the weight (decoupled), or lr·λ (cautious).
        l1: λ₁ (coupled), or lr·λ₁ (decoupled).
    """

    max_value: Scalar
    adaptive_clip: Scalar
    adaptive_eps: Scalar
    decay: Scalar
    l1: Scalar


class Signal(NamedTuple):
    """What all gradients of a step together decided, as one device knows it.

    Attributes:
        scale: the number that they are multiplied with.
        skip: whether the step changes nothing (any number but zero), where only the device knows it.
        tensor: what kernels read: the norm, then these two; fp64 on the device.
    """

    scale: Scalar
    skip: Scalar
    tensor: Tensor | None = None

    @property
    def skipped(self) -> Tensor:
        """Whether the step changes nothing."""
        return torch.as_tensor(self.skip) != 0

    def rounded(self, dtype: torch.dtype) -> Signal:
        """With numbers in the precision that gradients are computed in."""
        return self._replace(scale=self.scale.to(dtype)) if isinstance(self.scale, Tensor) else self


UNCHANGED = Signal(1.0, 0.0)


def is_zero(value: Any) -> bool:
    """Whether a penalty is known to be none. A tensor counts as nonzero: reading it would wait for its device."""
    return not isinstance(value, Tensor) and value == 0


def is_off(group: dict[str, Any], penalty: str) -> bool:
    """Whether a group has no such penalty. One that a scheduler has at zero for now counts, so that the code stays."""
    return is_zero(option(group, penalty)) and is_zero(group.get(f"initial_{penalty}", 0))


def decay_form(group: dict[str, Any], *, decoupled: bool) -> Decay:
    """How this group's ``weight_decay`` acts."""
    if is_off(group, "weight_decay"):
        return "none"
    if option(group, "cautious_weight_decay"):
        return "cautious"
    return "decoupled" if decoupled else "coupled"


def l1_form(group: dict[str, Any], *, decoupled: bool) -> L1:
    """How this group's ``l1`` acts."""
    if is_off(group, "l1"):
        return "none"
    return "decoupled" if decoupled else "coupled"


def numbers(transform: Transform, lr: Scalar, limits: Sequence[Scalar], weight_decay: Scalar, l1: Scalar) -> Numbers:
    """The numbers for these hyperparameters. ``kernels/skeleton.py: refresh_rows`` says the same on the device."""
    decay = lr * weight_decay if transform.decay in ("decoupled", "cautious") else weight_decay
    max_value, adaptive_clip, adaptive_eps = limits
    return Numbers(
        max_value,
        adaptive_clip,
        adaptive_eps,
        decay=1 - decay if transform.decay == "decoupled" else decay,
        l1=lr * l1 if transform.l1 == "decoupled" else l1,
    )


def before_rule(
    param: Tensor, grad: Tensor, numbers: Numbers, signal: Signal, transform: Transform, *, differentiable: bool = False
) -> Tensor:
    """Decays ``param`` in place if the decay is decoupled, and returns the gradient for the rule.

    ``grad`` itself is never written: when something changes it, a new tensor is returned.
    """
    given = grad
    if transform.scaled or transform.adaptive or transform.clamped:
        grad = limited(param, grad, numbers, signal, transform)
    ours = grad is not given
    if transform.maximize:
        grad = grad.neg_() if ours and not differentiable else -grad
        ours = True
    if transform.decay == "decoupled":
        param.mul_(numbers.decay)
    elif transform.decay == "coupled":
        if isinstance(numbers.decay, Tensor):
            # The rule changes the parameter in place, and autograd may need the value that was decayed.
            grad = grad + (param.clone() if differentiable else param) * _rounded(numbers.decay, param)
        elif ours and not differentiable:
            grad = add_(grad, param, numbers.decay)  # needs no second temporary
        else:
            grad = grad.add(param, alpha=numbers.decay)
        ours = True
    if transform.l1 == "coupled":
        sign, l1 = param.sign(), _rounded(numbers.l1, param)
        grad = add_(grad, sign, l1) if ours and not differentiable else grad + sign * l1
    return grad


def after_rule(before: Tensor | None, param: Tensor, numbers: Numbers, transform: Transform) -> None:
    """The decays that look at what the rule made of ``param``; ``before`` is what it had been, for those that ask."""
    if transform.decay == "cautious":
        assert before is not None, "a cautious decay compares"
        # Chen et al. 2025: only where the step and the decay pull in the same direction, or there is no step.
        agrees = (before - param) * before >= 0
        param.sub_(torch.where(agrees, before * numbers.decay, 0))
    if transform.l1 == "decoupled":
        # The soft threshold: sign(w)·max(|w| - λ, 0), exactly zero inside.
        param.sub_(_within(as_it_is(param), numbers.l1))


def needs_before(transform: Transform) -> bool:
    """Whether :func:`after_rule` compares with the parameter as it was."""
    return transform.decay == "cautious"


def limited(param: Tensor, grad: Tensor, numbers: Numbers, signal: Signal, transform: Transform) -> Tensor:
    """The gradient scaled and clipped, as a new tensor; or itself, where the host knows that nothing is scaled."""
    if transform.scaled and (isinstance(signal.scale, Tensor) or signal.scale != 1):
        grad = _map(grad, lambda values: values * signal.scale)
    if transform.adaptive:
        grad = grad * unit_scale(param, grad, numbers.adaptive_clip, numbers.adaptive_eps)
    if transform.clamped:
        grad = _map(grad, lambda values: _within(values, _rounded(numbers.max_value, values)))
    return grad


def _rounded(value: Scalar, x: Tensor) -> Scalar:
    """A number in the precision of ``x``, which would take the number's if both are 0-d tensors."""
    return value.to(x.real.dtype if x.is_complex() else x.dtype) if isinstance(value, Tensor) else value


def _map(grad: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of the elements; of a sparse gradient, of those that it holds."""
    if not grad.is_sparse:
        return function(grad)
    grad = grad.coalesce()
    return torch.sparse_coo_tensor(
        grad.indices(), function(grad.values()), grad.shape, is_coalesced=True, check_invariants=False
    )


def _within(x: Tensor, limit: Any) -> Tensor:
    """``x`` between ±limit. A NaN survives: it tells the user that training has broken down."""
    return x.clamp(-limit, limit)


def unit_scale(param: Tensor, grad: Tensor, clip: Scalar, eps: Any) -> Tensor:
    """What adaptive clipping multiplies each unit's gradient with: 1, or clip·max(‖w‖, ε)/‖g‖ if that is less."""
    most = unit_norm(param).clamp(min=_rounded(eps, param)) * _rounded(clip, param)
    norm = unit_norm(grad)
    # At least 1e-6, as in the paper's code: a vanishing gradient is not blown up by a limit of zero over zero.
    return torch.where(norm > most, most / norm.clamp(min=1e-6), 1.0)


def unit_norm(x: Tensor) -> Tensor:
    """The Euclidean norm of each unit: along all dimensions but the first, which is a layer's outputs; a tensor with
    fewer than two dimensions is one unit. Added in fp64.
    """
    x = x.detach()
    if x.dim() == 0 or x.numel() == 0:
        return x.abs()
    if x.dim() == 1:
        norm = total_norm(x, 2).reshape(1)
    else:
        dims = tuple(range(1, x.dim()))
        rows = max(1, PIECE * len(x) // x.numel())
        norms: list[Tensor] = [
            torch.linalg.vector_norm(part, dim=dims, keepdim=True, dtype=wide(x)) for part in torch.split(x, rows)
        ]
        norm = torch.cat(norms)
    return norm.to(x.dtype.to_real() if x.is_complex() else x.dtype)
