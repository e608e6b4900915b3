"""What many tensors are like, compared in one call. The one place that meets the private guards of torch's compiler."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Facts:
    """Type, dtype, device, shape, strides and lazy conjugation of some tensors, without a reference to any of them.

    Not where they are: that changes far more often, and alone.
    """

    def __init__(self, tensors: Sequence[Any]) -> None:
        self._known: list[Any] = []
        self._guards = _guards(tensors)
        if self._guards is None:
            self._known = list(map(_described, tensors))

    def hold(self, tensors: Sequence[Any]) -> bool:
        """Whether these are like the tensors that the facts were taken from, one by one. What is no tensor is not."""
        if self._guards is None:
            return list(map(_described, tensors)) == self._known
        found: bool = self._guards.check(*tensors)
        return found


def comparable(tensors: Sequence[Any]) -> bool:
    """Whether torch has its own record of these facts, dispatch keys included: what wraps a tensor is noticed too."""
    return (
        tensor_guards() is not None
        and all(type(t) in (Tensor, torch.nn.Parameter) and t.layout is torch.strided for t in tensors)
        and len(set(map(id, tensors))) == len(tensors)  # the same tensor twice would always be refused
    )


def _guards(tensors: Sequence[Any]) -> Any | None:
    """torch's own record, which it compares ten times as fast; None where it does not have them all."""
    return _guard(tensor_guards(), tensors) if comparable(tensors) else None


def _guard(guards: Any, tensors: Sequence[Tensor]) -> Any:
    return guards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)


@functools.cache
def tensor_guards() -> Any | None:
    """The class behind the compiler's guards, which is in torch's C++ part: no compiler is loaded. None if it is gone,
    or no longer does what it does in torch 2.13."""
    try:
        from torch._C._dynamo.guards import TensorGuards

        like = torch.empty(2, 3, device="cpu")
        guard = _guard(TensorGuards, [like])
        others = [like.t().contiguous().t(), like.double(), like.view(3, 2), None]
        return TensorGuards if guard.check(like) and not any(map(guard.check, others)) else None
    except (ImportError, AttributeError, TypeError, RuntimeError):
        return None


def _described(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, Tensor):
        return (type(value),)
    strides = value.stride() if value.layout is torch.strided else None
    return type(value), value.dtype, value.device, value.shape, strides, value.is_conj(), value.is_neg()
