"""The reference backend: one parameter after the other, with torch's own operations.

On CPU, in fp32 and fp64, its results are bit-for-bit those of ``torch.optim``'s single-tensor path. Lower precisions
compute in fp32 and round once when they store, as the fast backends do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .arithmetic import as_it_is
from .buckets import Bucket, States
from .layout import compute_dtype, real
from .norms import power_sums
from .rule import Scalar, Variant
from .scalars import Row, exact, row
from .transform import UNCHANGED, Signal, after_rule, before_rule, limited, needs_before

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

    def measure(self, grads: list[Tensor], states: States, order: float) -> Tensor:
        """See :class:`~.buckets.Runner`."""
        return power_sums(grads, order)

    def run(self, optimizer: Optimizer, grads: list[Tensor], states: States, signal: Signal) -> None:
        """Updates the bucket's parameters and states in place."""
        variant = self.bucket.kind.variant
        signal = signal.rounded(compute_dtype(self.bucket.kind.dtype))
        rows: dict[tuple[Any, ...], Row] = {}
        # Numbers that stay tensors have no value to look up: each member has its own.
        own = bool(states.carried) and (variant.on_device or variant.differentiable)
        members = zip(self.bucket.members, self.bucket.numels, grads, *states.columns, strict=True)
        for i, (member, numel, grad, *state) in enumerate(members):
            step = advance(states, i, variant, signal)
            carried = [_carried(column[i], variant) for column in states.carried] if states.carried else []
            key = (member.group, i) if own or isinstance(step, Tensor) else (member.group, step, *carried)
            if key not in rows:
                group = optimizer.param_groups[member.group]
                rows[key] = row(optimizer, group, variant, step, carried, read=not variant.on_device)
            if numel:  # a rule need not think of the mean of nothing
                update(member.param, grad, state, rows[key], variant, signal)
            if carried:
                for column, value in zip(states.carried, rows[key].scalars, strict=False):
                    carry(column[i], value, variant, signal)


def advance(states: States, i: int, variant: Variant, signal: Signal) -> Scalar:
    """Counts a parameter's step, unless it is skipped, and returns the count of the step that is worked out.

    Rules that keep no count are told 1 for a new state and 2 after that.
    """
    if not states.steps:
        return 1.0 if states.fresh is not None and states.fresh[i] else 2.0
    if variant.transform.guarded:
        step = exact(states.steps[i]) + 1
        states.steps[i].add_(1 - signal.skip)
        return step
    count = states.steps[i].add_(1)
    if variant.on_device:
        return exact(count)
    return count if variant.differentiable and variant.rule.differentiable_step else float(count)


def carry(stored: Tensor, value: Scalar, variant: Variant, signal: Signal) -> None:
    """Stores a number that the rule carries on, unless the step is skipped."""
    if not isinstance(value, Tensor):
        stored.fill_(value)
    else:
        stored.copy_(torch.where(signal.skipped, stored, value) if variant.transform.guarded else value)


def _carried(value: Tensor, variant: Variant) -> Any:
    """A carried number as the rule takes it: in the state's own precision where the host works it out."""
    if variant.on_device:
        return exact(value)
    return value.clone() if variant.differentiable else value.cpu().numpy()[()]


def update(
    param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant, signal: Signal = UNCHANGED
) -> None:
    """One rule on one tensor, in place. The compiled backend traces this same function."""
    if param.dtype in (torch.float16, torch.bfloat16):
        _update_wide(torch.float32, param, grad, state, row, variant, signal)
    elif _converts(param, grad, state):
        _update_wide(param.dtype, param, grad, state, row, variant, signal)
    elif variant.transform.guarded:
        _update_guarded(param, grad, state, row, variant, signal)
    elif variant.differentiable:
        # Autograd needs the states as they are now; they change in place at the next step.
        _update_copies([tensor.clone() for tensor in state], param, grad, state, row, variant, signal)
    else:
        _update(param, grad, state, row, variant, signal)


def _converts(param: Tensor, grad: Tensor, state: list[Tensor]) -> bool:
    """Whether dtypes differ; the states of a complex parameter may be real ones of the same precision."""
    own, others = param.dtype, [tensor.dtype for tensor in (grad, *state)]
    if others == [own] * len(others):
        return False
    return not own.is_complex or any(dtype not in (own, own.to_real()) for dtype in others)


def _update(param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant, signal: Signal) -> None:
    rule, transform = variant.rule, variant.transform
    as_reals = param.is_complex() and not (rule.complex_native or grad.is_sparse)
    if as_reals:
        state = [real(tensor) for tensor in state]
        if rule.real_transform:
            if transform.adaptive:  # as pairs of reals, a vector would look like a matrix
                grad = limited(param, grad, row.transform, signal, transform)
                transform = transform._replace(scaled=False, adaptive=False)
            param, grad, as_reals = real(param), real(grad), False
    before = param.clone() if needs_before(transform) else None
    form = real if as_reals else _same
    # The transformed gradient is passed without a name, so that the rule can free it before its own temporaries.
    rule.eager(
        form(param),
        form(before_rule(param, grad, row.transform, signal, transform, differentiable=variant.differentiable)),
        state,
        row.scalars,
        variant.flags,
    )
    after_rule(before, param, row.transform, transform)


def _same(x: Tensor) -> Tensor:
    return x


def _update_guarded(
    param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant, signal: Signal
) -> None:
    """Works the step out, and keeps what there was where the device says so."""
    kept = [tensor.clone() for tensor in (param, *state)]
    update(param, grad, state, row, variant._replace(transform=variant.transform._replace(guarded=False)), signal)
    for stored, old in zip((param, *state), kept, strict=True):
        stored.copy_(torch.where(signal.skipped, old, as_it_is(stored)))


def _update_copies(
    copies: list[Tensor], param: Tensor, grad: Tensor, state: list[Tensor], row: Row, variant: Variant, signal: Signal
) -> None:
    _update(param, grad, copies, row, variant, signal)
    for stored, value in zip(state, copies, strict=True):
        stored.copy_(value)


def _update_wide(
    dtype: torch.dtype,
    param: Tensor,
    grad: Tensor,
    state: list[Tensor],
    row: Row,
    variant: Variant,
    signal: Signal,
) -> None:
    """Computes in ``dtype`` and rounds each result once, when it is stored."""
    wide = [
        tensor.to(dtype if tensor.is_complex() or not dtype.is_complex else dtype.to_real())
        for tensor in (param, *state)
    ]
    update(wide[0], grad.to(dtype), wide[1:], row, variant, signal)
    for stored, value in zip((param, *state), wide, strict=True):
        if stored is not value:
            stored.copy_(value)
