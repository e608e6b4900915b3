"""The plan: which bucket each parameter belongs to, and whether that still holds."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .addresses import same
from .backends import COMPILE_FROM, PER_TENSOR
from .buckets import Bucket, Kind, Member, Work
from .group_options import GroupOptions
from .layout import span
from .norms import WITHOUT_FP64
from .rule import Variant
from .ruled import RuledOptimizer
from .state_places import StatePlaces

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Plan:
    """Who runs what in a step. Built once, checked at every step, rebuilt when anything it rests on has changed.

    Args:
        optimizer: whose parameters are planned.
        every: plan parameters without a gradient too, as if they had one like themselves (for ``explain``).
    """

    def __init__(self, optimizer: Optimizer, *, every: bool = False) -> None:
        self.params = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
        self._sizes = [len(group["params"]) for group in optimizer.param_groups]
        optimizer.decided_on_host = _on_host(optimizer, self.params)
        shared = _sharing_memory(self.params)
        self.variants = [optimizer.variant(group) for group in optimizer.param_groups]
        self.options = GroupOptions(optimizer.param_groups)
        self._control = _control(optimizer)
        self.idle: list[Tensor] = []
        found: dict[Kind, Bucket] = {}
        for index, group in enumerate(optimizer.param_groups):
            names = group.get("param_names") or [f"{index}.{i}" for i in range(len(group["params"]))]
            for name, param in zip(names, group["params"], strict=True):
                if param.grad is None and not (every and param.requires_grad):
                    self.idle.append(param)
                    continue
                kind = _kind(optimizer, group, self.variants[index], param, shares_memory=id(param) in shared)
                bucket = found.setdefault(kind, Bucket(kind, type(optimizer).__name__))
                bucket.members.append(Member(param, index, name))
                bucket.params.append(param)
        self.buckets = list(found.values())
        self._places = StatePlaces()
        for bucket in self.buckets:
            _settle(bucket)

    def gather(self, optimizer: Optimizer) -> Work | None:
        """What each bucket's runner needs for this step, or None when the plan no longer fits the optimizer."""
        lists = [group["params"] for group in optimizer.param_groups]
        if list(map(len, lists)) != self._sizes or not same(list(chain.from_iterable(lists)), self.params):
            return None
        if not self._variants_hold(optimizer):
            return None
        if any(param.grad is not None for param in self.idle):
            return None
        found = [(bucket, bucket.gather()) for bucket in self.buckets]
        known = self._places.read(optimizer.state, self.buckets)
        work = []
        for (bucket, grads), dicts in zip(found, known, strict=True):
            if grads is None:
                return None
            assert bucket.runner is not None, "a plan is carried out only after its runners were made"
            states = optimizer.gather_states(bucket, dicts)
            if not bucket.runner.fits(grads, states):
                return None
            work.append((bucket.runner, grads, states))
        return work

    def _variants_hold(self, optimizer: Optimizer) -> bool:
        """Whether all groups still ask for the same code; they do while nothing is changed that it follows from."""
        control, groups = _control(optimizer), optimizer.param_groups
        if control == self._control and self.options.hold(groups):
            return True
        if self.variants != [optimizer.variant(group) for group in groups]:
            return False
        if type(optimizer).param_variant is not RuledOptimizer.param_variant and not all(
            bucket.kind.variant == optimizer.param_variant(self.variants[m.group], groups[m.group], m.param)
            for bucket in self.buckets
            for m in bucket.members
        ):
            return False
        self.options, self._control = GroupOptions(groups), control
        return True

    def release(self, optimizer: Optimizer) -> None:
        """Called when another plan has taken this one's place."""
        kept = {id(param) for param in optimizer.planned_params()}
        for bucket in self.buckets:
            if bucket.runner is not None:
                bucket.runner.release(optimizer, kept)


def _control(optimizer: Optimizer) -> tuple[bool, ...]:
    """What of the optimizer as a whole, rather than its groups, changes the code."""
    return optimizer.scales_gradients, optimizer.may_skip, optimizer.decided_on_host


def _on_host(optimizer: Optimizer, params: list[Tensor]) -> bool:
    """Whether the host looks at gradients before a step: where it need not wait for a device, or nobody else can."""
    return all(param.device.type in ("cpu", *WITHOUT_FP64) for param in params) and not any(
        group.get("capturable") for group in optimizer.param_groups
    )


def _sharing_memory(params: list[Tensor]) -> set[int]:
    """The ids of parameters whose memory overlaps another's: one after the other is the only right order for them."""
    plain = [param for param in params if type(param) in (Tensor, torch.nn.Parameter) and not param.is_meta]
    spans = sorted((*span(param), id(param)) for param in plain if param.layout is torch.strided)
    found: set[int] = set()
    widest = None
    for current in spans:
        if widest is not None and current[0] == widest[0] and current[1] < widest[2]:
            found |= {widest[3], current[3]}
        if widest is None or current[0] != widest[0] or current[2] > widest[2]:
            widest = current
    return found


def _kind(optimizer: Optimizer, group: dict[str, Any], variant: Variant, param: Tensor, *, shares_memory: bool) -> Kind:
    like = param if param.grad is None else param.grad
    names = optimizer.state_names(group, param)
    state = optimizer.state.get(param, {})
    # A state of another shape than the parameter's is made before it is known.
    dtypes = tuple(state[name].dtype if name in state else optimizer.state_dtype(name, group, param) for name in names)
    choice = optimizer.choose(group, param, shares_memory=shares_memory)
    variant = optimizer.param_variant(variant, group, param)
    return Kind(*choice, param.device, param.dtype, like.dtype, like.layout, variant, names, dtypes)


def _settle(bucket: Bucket) -> None:
    """Decides between compiled and eager where that depends on how much there is to do."""
    if bucket.kind.backend == "compiled" and bucket.kind.reason == "auto":
        size = bucket.elements + PER_TENSOR * len(bucket.params)
        paid = size >= COMPILE_FROM
        counted = f"{bucket.elements:,} elements in {len(bucket.params):,} tensors count as {size:,}"
        reason = f"auto: {counted}, compiling {'pays' if paid else 'would pay'} from {COMPILE_FROM:,}"
        bucket.kind = bucket.kind._replace(backend="compiled" if paid else "eager", reason=reason)
