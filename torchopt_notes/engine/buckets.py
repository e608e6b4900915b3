"""Buckets: the parameters that one call of a backend serves, and the plan that maps parameters to them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .backends import COMPILE_FROM, Backend, Choice
from .rule import Variant

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Member(NamedTuple):
    """One parameter of a bucket."""

    param: Tensor
    group: int
    name: str


class States(NamedTuple):
    """A bucket's states at one step, in the order of its members.

    Attributes:
        dicts: each parameter's state, for its ``step``.
        tensors: each parameter's state tensors, in the order of the bucket's ``state_names``.
        fresh: which states were created just now, or None when none was.
    """

    dicts: list[dict[str, Any]]
    tensors: list[tuple[Tensor, ...]]
    fresh: list[bool] | None


class Runner(Protocol):
    """What a backend makes of a bucket. It may cache what it likes, but holds no gradient and no state alive."""

    def run(self, optimizer: Optimizer, grads: list[Tensor]) -> None:
        """Updates parameters and states in place."""


@dataclass
class Bucket:
    """Parameters that share backend, device, dtypes and code."""

    backend: Backend
    reason: str
    device: torch.device
    dtype: torch.dtype
    grad_dtype: torch.dtype
    strided: bool
    variant: Variant
    state_names: tuple[str, ...]
    members: list[Member] = field(default_factory=list)
    runner: Runner | None = None
    _grads: list[weakref.ref[Tensor]] = field(default_factory=list)

    @property
    def elements(self) -> int:
        """How many numbers the bucket's parameters hold."""
        return sum(member.param.numel() for member in self.members)

    def gather(self) -> list[Tensor] | None:
        """This step's gradients, or None when they no longer are what the bucket was built for."""
        grads = [member.param.grad for member in self.members]
        # Only weak references are kept: a gradient set to None between steps must be freed.
        if any(map(is_, grads, repeat(None))):
            return None
        if len(self._grads) == len(grads) and all(map(is_, grads, [ref() for ref in self._grads])):
            return grads  # type: ignore[return-value]
        strided, dtype = torch.strided, self.grad_dtype
        if not all(grad.dtype is dtype and (grad.layout is strided) == self.strided for grad in grads):  # type: ignore[union-attr]
            return None
        self._grads = [weakref.ref(grad) for grad in grads]  # type: ignore[arg-type]
        return grads  # type: ignore[return-value]


class Plan:
    """Who runs what in a step. Built once, checked at every step, rebuilt when anything it rests on has changed."""

    def __init__(self, optimizer: Optimizer, *, every: bool = False) -> None:
        """Args:
        every: plan parameters without a gradient too, as if they had one like themselves (for ``explain``).
        """
        self.params = list(_all_params(optimizer))
        self.variants = [optimizer.variant(group) for group in optimizer.param_groups]
        self.idle: list[Tensor] = []
        self.buckets: list[Bucket] = []
        found: dict[tuple[object, ...], Bucket] = {}
        for index, group in enumerate(optimizer.param_groups):
            names = group.get("param_names") or [f"{index}.{i}" for i in range(len(group["params"]))]
            for name, param in zip(names, group["params"], strict=True):
                if param.grad is None and not every:
                    self.idle.append(param)
                    continue
                choice = optimizer.choose(group, param)
                self._add(found, Member(param, index, name), choice, self.variants[index], optimizer.state_names(group))
        self.buckets = list(found.values())
        for bucket in self.buckets:
            _settle(bucket)

    @staticmethod
    def _add(
        found: dict[tuple[object, ...], Bucket],
        member: Member,
        choice: Choice,
        variant: Variant,
        names: tuple[str, ...],
    ) -> None:
        param = member.param
        grad_dtype = param.grad.dtype if param.grad is not None else param.dtype
        strided = param.grad is None or param.grad.layout is torch.strided
        key = (choice, param.device, param.dtype, grad_dtype, strided, variant, names)
        if key not in found:
            found[key] = Bucket(*choice, param.device, param.dtype, grad_dtype, strided, variant, names)
        found[key].members.append(member)

    def gather(self, optimizer: Optimizer) -> list[tuple[Bucket, list[Tensor]]] | None:
        """Each bucket with this step's gradients, or None when the plan no longer fits the optimizer."""
        params = list(_all_params(optimizer))
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return None
        if self.variants != [optimizer.variant(group) for group in optimizer.param_groups]:
            return None
        if any(param.grad is not None for param in self.idle):
            return None
        work = []
        for bucket in self.buckets:
            grads = bucket.gather()
            if grads is None:
                return None
            work.append((bucket, grads))
        return work


def _all_params(optimizer: Optimizer) -> Iterator[Tensor]:
    return chain.from_iterable(group["params"] for group in optimizer.param_groups)


def _settle(bucket: Bucket) -> None:
    """Decides between compiled and eager where that depends on how much there is to do."""
    if bucket.backend == "compiled" and bucket.reason == "auto":
        elements = bucket.elements
        if elements >= COMPILE_FROM:
            bucket.reason = f"auto: {elements:,} elements, compiling pays from {COMPILE_FROM:,}"
        else:
            bucket.backend = "eager"
            bucket.reason = f"auto: {elements:,} elements, compiling would pay from {COMPILE_FROM:,}"
