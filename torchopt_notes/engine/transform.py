"""What happens to a gradient, and to the parameter, before the rule sees them: sign, then weight decay.

Written once here for the eager and compiled backends and once in ``kernels/skeleton.py`` for Triton, in the same
order, so that no optimizer implements a sign or a decay itself.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .arithmetic import add_
from .rule import Decay, Scalar


def decay_form(group: dict[str, Any]) -> Decay:
    """How this group's ``weight_decay`` acts. A tensor counts as nonzero: reading it would wait for its device."""
    weight_decay = group.get("weight_decay", 0)
    if not isinstance(weight_decay, Tensor) and weight_decay == 0:
        return "none"
    return "decoupled" if group.get("decoupled_weight_decay", False) else "coupled"


def decay_scalar(decay: Decay, lr: Scalar, weight_decay: Scalar) -> Scalar:
    """The one number the decay needs: λ added to the gradient (coupled), or 1 - lr·λ times the weight (decoupled)."""
    if decay == "decoupled":
        return 1 - lr * weight_decay
    return weight_decay


def transform(
    param: Tensor, grad: Tensor, decay_value: Scalar, *, maximize: bool, decay: Decay, differentiable: bool = False
) -> Tensor:
    """Decays ``param`` in place if the decay is decoupled, and returns the gradient for the rule.

    ``grad`` itself is never written: when something changes it, a new tensor is returned.
    """
    if maximize:
        grad = -grad
    if decay == "decoupled":
        param.mul_(decay_value)
    elif decay == "coupled":
        if isinstance(decay_value, Tensor):
            # The rule changes the parameter in place, and autograd may need the value that was decayed.
            return grad + (param.clone() if differentiable else param) * decay_value
        # A negated gradient is ours already, so the decay needs no second temporary.
        return add_(grad, param, decay_value) if maximize and not differentiable else grad.add(param, alpha=decay_value)
    return grad
