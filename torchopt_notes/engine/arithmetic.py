"""In-place operations whose scalar may be a float or a 0-d tensor, so that a rule is written once.

With a float these are torch's own single operations, which is what makes the eager backend bit-for-bit torch.optim:
the CPU kernels contract ``x + alpha * y`` into a fused multiply-add, which two separate operations would not. torch's
``alpha`` and ``value`` cannot be tensors without reading them on the host, so a tensor takes the spelled-out form; the
compiler fuses that again.
"""

from __future__ import annotations

from torch import Tensor

from .rule import Scalar


def add_(x: Tensor, y: Tensor, alpha: Scalar) -> Tensor:
    """``x += alpha * y``"""
    if not isinstance(alpha, Tensor):
        return x.add_(y, alpha=alpha)
    # The operation that torch.optim uses where autograd follows the learning rate.
    return x.addcmul_(y, alpha) if alpha.requires_grad else x.add_(y * alpha)


def addcmul_(x: Tensor, y: Tensor, z: Tensor, value: Scalar) -> Tensor:
    """``x += value * y * z``"""
    return x.add_(y * z * value) if isinstance(value, Tensor) else x.addcmul_(y, z, value=value)


def addcdiv_(x: Tensor, y: Tensor, z: Tensor, value: Scalar) -> Tensor:
    """``x += value * y / z``"""
    return x.add_(y * value / z) if isinstance(value, Tensor) else x.addcdiv_(y, z, value=value)


def lerp_(x: Tensor, y: Tensor, weight: Scalar) -> Tensor:
    """``x += weight * (y - x)``: an exponential moving average with ``weight`` = 1 - β."""
    return x.add_((y - x) * weight) if isinstance(weight, Tensor) else x.lerp_(y, weight)


def add_number(x: Tensor, number: Scalar) -> Tensor:
    """``x + number`` in the memory of ``x``, a temporary, unless autograd may need it."""
    return x + number if x.requires_grad else x.add_(number)


def number(value: Scalar) -> Scalar:
    """A number that is carried on, rounded to its own precision, for double-precision arithmetic."""
    return value if isinstance(value, Tensor) else float(value)
