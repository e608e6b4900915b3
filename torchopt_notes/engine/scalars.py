"""The numbers of one step: what a rule and the transform multiply with, worked out once per group and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from .options import REFERENCE_LR, option
from .rule import Rule, Scalar, Variant
from .transform import Numbers, numbers

if TYPE_CHECKING:
    from .buckets import Bucket
    from .group_options import GroupOptions
    from .optimizer import Optimizer


N_NUMBERS = len(Numbers._fields)


PLAIN = (float, int)
"""What nearly all hyperparameters are; to ask whether they are tensors takes several times as long."""


class Row(NamedTuple):
    """The transform's numbers and the rule's ``scalars``."""

    transform: Numbers
    scalars: tuple[Scalar, ...]

    def values(self) -> tuple[Scalar, ...]:
        """All of them, flat, in the order in which kernels and compiled functions take them."""
        return *self.transform, *self.scalars

    @classmethod
    def of(cls, scalar_type: type[tuple[Any, ...]], values: Sequence[Scalar]) -> Row:
        """The row whose ``values`` these are, of a rule whose ``scalars`` returns this type."""
        return cls(Numbers(*values[:N_NUMBERS]), scalar_type(*values[N_NUMBERS:]))  # type: ignore[arg-type]


def row_length(rule: Rule) -> int:
    """How many values a row of ``rule`` has."""
    return N_NUMBERS + len(rule.scalar_names)


class Kept:
    """What a parameter group's rows have besides the step: the transform's numbers, and the rule's hyperparameters.

    Kept while the group's options and lr are the very same objects.
    """

    def __init__(self) -> None:
        self._options: GroupOptions | None = None
        self._lr: Scalar | None = None
        self._found: tuple[Numbers, tuple[Scalar, ...]]

    def of(
        self, optimizer: Optimizer, group: dict[str, Any], variant: Variant, read: bool
    ) -> tuple[Numbers, tuple[Scalar, ...]]:
        """Those of ``group``, always the same one."""
        options, lr = optimizer.planned_options(), group["lr"]
        if lr is not self._lr or options is not self._options or not options.lasting or type(lr) not in PLAIN:
            found = _without_step(optimizer, group, variant, read)
            # Last of all: what could not be worked out is refused at the next step too.
            self._options, self._lr, self._found = options, lr, found
        return self._found


def row(
    optimizer: Optimizer,
    group: dict[str, Any],
    variant: Variant,
    step: Scalar,
    carried: Sequence[Any] = (),
    *,
    read: bool = True,
    kept: Kept | None = None,
) -> Row:
    """The row of ``group`` at ``step``.

    Args:
        carried: the rule's carried numbers: NumPy scalars, which keep their precision, or tensors.
        read: turn tensors on the CPU into floats, unless autograd follows them. torch's operations then round exactly
            as they do in ``torch.optim``. A tensor on another device is never read.
        kept: what is known from this group's last row.
    """
    found, hyper = (kept.of if kept is not None else _without_step)(optimizer, group, variant, read)
    scalars = variant.rule.scalars(step, *carried, *hyper)
    return Row(found, type(scalars)(*map(_read, scalars)) if read else scalars)  # type: ignore[arg-type]


def _without_step(
    optimizer: Optimizer, group: dict[str, Any], variant: Variant, read: bool
) -> tuple[Numbers, tuple[Scalar, ...]]:
    """The transform's numbers, and the rule's hyperparameters."""
    lr, *limits, weight_decay, l1 = map(_scalar, transform_hyper(group))
    hyper = tuple(map(_scalar, optimizer.hyper(group)))
    found = numbers(variant.transform, lr, limits, weight_decay, l1)
    if read:
        # A decay factor stays a tensor: torch multiplies with it as it is, and a 0-d parameter takes its precision.
        decay = found.decay if variant.transform.decay == "decoupled" else _read(found.decay)
        max_value, adaptive_clip, adaptive_eps, _, l1 = found
        found = Numbers(_read(max_value), _read(adaptive_clip), _read(adaptive_eps), decay, _read(l1))
    return found, hyper


def transform_hyper(group: dict[str, Any]) -> tuple[Scalar, ...]:
    """What the transform's numbers follow from: lr, the limits of clipping, weight decay and L1 penalty."""
    max_value, adaptive_clip = group.get("max_grad_value"), group.get("adaptive_clip")
    return (
        group["lr"],
        # What is not asked for is not used either.
        0.0 if max_value is None else max_value,
        0.0 if adaptive_clip is None else adaptive_clip,
        option(group, "adaptive_eps"),
        penalty(group, "weight_decay"),
        penalty(group, "l1"),
    )


def penalty(group: dict[str, Any], name: str) -> Scalar:
    """A penalty that lr is multiplied with: divided by the group's first lr, if its size is not to matter."""
    value: Scalar = option(group, name)
    return value / group[REFERENCE_LR] if group.get("decouple_lr") else value


def keep_reference(group: dict[str, Any]) -> None:
    """Keeps the lr that ``decouple_lr`` divides by, if the group asks for it now."""
    if group.get("decouple_lr"):
        lr = group["lr"]
        group.setdefault(REFERENCE_LR, lr.detach().clone() if isinstance(lr, Tensor) else lr)


def hyperparameters(optimizer: Optimizer, group: dict[str, Any]) -> tuple[Scalar, ...]:
    """All that a row follows from but the step and what is carried; tensors as 0-d tensors."""
    return tuple(map(_scalar, (*transform_hyper(group), *optimizer.hyper(group))))


def lives_on_device(optimizer: Optimizer, bucket: Bucket) -> bool:
    """Whether step counts or hyperparameters are where the host cannot read them without waiting."""
    variant = bucket.kind.variant
    if variant.on_device or (variant.fused and bucket.kind.device.type != "cpu"):
        return True
    rates = [optimizer.param_groups[group]["lr"] for group in bucket.groups]
    if optimizer.planned_options().lasting and all(type(lr) in PLAIN for lr in rates):
        return False
    return any(
        type(value) not in PLAIN and isinstance(value, Tensor) and value.device.type != "cpu"
        for group in bucket.groups
        for value in hyperparameters(optimizer, optimizer.param_groups[group])
    )


def exact(count: Tensor) -> Tensor:
    """A copy of a count in fp64: in fp32, 1 - 0.999ᵗ would be off by 6e-5 of itself at the first step."""
    return count.to(torch.float64, copy=True)


def _scalar(value: Scalar) -> Scalar:
    if type(value) in PLAIN:
        return value
    return value.squeeze() if isinstance(value, Tensor) and value.dim() else value


def _read(value: Scalar) -> Scalar:
    if type(value) in PLAIN:
        return float(value)
    if isinstance(value, Tensor) and value.device.type == "cpu" and not value.requires_grad:
        return value.item()
    return value if isinstance(value, Tensor) else float(value)  # a carried number is NumPy's
