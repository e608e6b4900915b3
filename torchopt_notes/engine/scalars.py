"""The numbers of one step: what a rule and the transform multiply with, worked out once per group and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from .rule import Scalar, Variant
from .transform import decay_scalar

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Row(NamedTuple):
    """The decay's number and the rule's ``scalars``."""

    decay: Scalar
    scalars: tuple[Scalar, ...]

    def values(self) -> tuple[Scalar, ...]:
        """All of them, flat, in the order in which kernels and compiled functions take them."""
        return self.decay, *self.scalars


def row(
    optimizer: Optimizer,
    group: dict[str, Any],
    variant: Variant,
    step: Scalar,
    carried: Sequence[Any] = (),
    *,
    read: bool = True,
) -> Row:
    """The row of ``group`` at ``step``.

    Args:
        carried: the rule's carried numbers: NumPy scalars, which keep their precision, or tensors.
        read: turn tensors on the CPU into floats, unless autograd follows them. torch's operations then round exactly
            as they do in ``torch.optim``. A tensor on another device is never read.
    """
    lr, weight_decay, *hyper = hyperparameters(optimizer, group)
    scalars = variant.rule.scalars(step, *carried, *hyper)
    decay = decay_scalar(variant.decay, lr, weight_decay)
    if read:
        # A decay factor stays a tensor: torch multiplies with it as it is, and a 0-d parameter takes its precision.
        decay = decay if variant.decay == "decoupled" else _read(decay)
        return Row(decay, type(scalars)(*map(_read, scalars)))  # type: ignore[arg-type]
    return Row(decay, scalars)


def hyperparameters(optimizer: Optimizer, group: dict[str, Any]) -> tuple[Scalar, ...]:
    """lr and weight decay, then what the rule's ``scalars`` takes after the step; tensors as 0-d tensors."""
    return tuple(
        value.squeeze() if isinstance(value, Tensor) and value.dim() else value
        for value in (group["lr"], group.get("weight_decay", 0.0), *optimizer.hyper(group))
    )


def exact(count: Tensor) -> Tensor:
    """A copy of a count in fp64: in fp32, 1 - 0.999ᵗ would be off by 6e-5 of itself at the first step."""
    return count.to(torch.float64, copy=True)


def _read(value: Scalar) -> Scalar:
    if isinstance(value, Tensor) and value.device.type == "cpu" and not value.requires_grad:
        return value.item()
    return value if isinstance(value, Tensor) else float(value)  # a carried number is NumPy's
