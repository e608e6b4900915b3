"""The reference backend: one parameter after the other, with torch's own operations.

On CPU, in fp32 and fp64, its results are bit-for-bit those of ``torch.optim``'s single-tensor path. Lower precisions
compute in fp32 and round once when they store, as the fast backends do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .buckets import Bucket, States
from .layout import real
from .rule import Scalar, Variant
from .scalars import Row, exact, row
from .transform import transform

if TYPE_CHECKING:
    from .optimizer import Optimizer


class EagerRunner:
    """Runs a bucket's rule tensor by tensor."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def fits(self, grads: list[Tensor], states: States) -> bool:
        """torch's operations take any tensors, and say so themselves where they do not."""
        return True

    def release(self, optimizer: Optimizer, kept: set[int]) -> None:
        """Nothing is shared with the states."""

    def run(self, optimizer: Optimizer, grads: list[Tensor], states: States) -> None:
        """Updates the bucket's parameters and states in place."""
        variant = self.bucket.kind.variant
        fresh = states.fresh or [False] * len(grads)
        rows: dict[tuple[Any, ...], Row] = {}
        for i, (member, grad) in enumerate(zip(self.bucket.members, grads, strict=True)):
            group = optimizer.param_groups[member.group]
            step = _advance(states.dicts[i], variant, fresh[i])
            carried = [_carried(column[i], variant) for column in states.carried]
            # Numbers that stay tensors (capturable, differentiable) have no value that a dictionary could look up.
            key = (member.group, *[id(value) if isinstance(value, Tensor) else value for value in (step, *carried)])
            if key not in rows:
                rows[key] = row(optimizer, group, variant, step, carried, read=not variant.on_device)
            if member.param.numel():  # a rule need not think of the mean of nothing
                update(member.param, grad, states.of(i), rows[key], variant)
            for column, value in zip(states.carried, rows[key].scalars, strict=False):
                column[i].copy_(value) if isinstance(value, Tensor) else column[i].fill_(value)


def _advance(state: dict[str, Any], variant: Variant, fresh: bool) -> Scalar:
    """Counts this step; rules that keep no count are told 1 for a new state and 2 after that."""
    step = state.get("step")
    if step is None:
        return 1.0 if fresh else 2.0
    step += 1
    if variant.on_device:
        return exact(step)
    return step if variant.differentiable and variant.rule.differentiable_step else float(step)


def _carried(value: Tensor, variant: Variant) -> Any:
    """A carried number as the rule takes it: in the state's own precision where the host works it out."""
    if variant.on_device:
        return exact(value)
    return value.clone() if variant.differentiable else value.cpu().numpy()[()]


def update(param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant) -> None:
    """One rule on one tensor, in place. The compiled backend traces this same function."""
    if param.dtype in (torch.float16, torch.bfloat16):
        _update_wide(torch.float32, param, grad, state, row, variant)
        return
    if not all(_computes_as(tensor, param) for tensor in (grad, *state)):
        _update_wide(param.dtype, param, grad, state, row, variant)
        return
    if variant.differentiable:
        # Autograd needs the states as they are now; they change in place at the next step.
        _update_copies([tensor.clone() for tensor in state], param, grad, state, row, variant)
        return
    _update(param, grad, state, row, variant)


def _computes_as(tensor: Tensor, param: Tensor) -> bool:
    """Whether no conversion is needed; a complex parameter may have real states of the same precision."""
    return tensor.dtype == param.dtype or (param.is_complex() and tensor.dtype == param.dtype.to_real())


def _update(param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant) -> None:
    # The transformed gradient is passed without a name, so that the rule can free it before its own temporaries.
    rule = variant.rule
    if param.is_complex() and not (rule.complex_native or grad.is_sparse):
        state = [real(tensor) for tensor in state]
        if rule.real_transform:
            rule.eager(
                real(param), _transform(real(param), real(grad), row, variant), state, row.scalars, variant.flags
            )
        else:
            rule.eager(real(param), real(_transform(param, grad, row, variant)), state, row.scalars, variant.flags)
        return
    rule.eager(param, _transform(param, grad, row, variant), state, row.scalars, variant.flags)


def _transform(param: Tensor, grad: Tensor, row: Row, variant: Variant) -> Tensor:
    return transform(
        param,
        grad,
        row.decay,
        maximize=variant.maximize,
        decay=variant.decay,
        differentiable=variant.differentiable,
    )


def _update_copies(
    copies: list[Tensor], param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant
) -> None:
    _update(param, grad, copies, row, variant)
    for stored, value in zip(state, copies, strict=True):
        stored.copy_(value)


def _update_wide(
    dtype: torch.dtype, param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant
) -> None:
    """Computes in ``dtype`` and rounds each result once, when it is stored."""
    wide = [
        tensor.to(dtype if tensor.is_complex() or not dtype.is_complex else dtype.to_real())
        for tensor in (param, *state)
    ]
    update(wide[0], grad.to(dtype), wide[1:], row, variant)
    for stored, value in zip((param, *state), wide, strict=True):
        if stored is not value:
            stored.copy_(value)
