"""Small tensors side by side, so that one compiled call serves many of them.

Their states live in the area for good: ``state[name]`` is a view of it. Parameters and gradients belong to others, so
they are copied in, and parameters out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor

from .layout import is_dense, real, real_numel

STAGE_BELOW = 8_192
"""Elements below which a tensor is staged.

Measured by ``python -m benchmarks thresholds`` (AdamW, 2 cores), per tensor: staged 8 µs at 2,048 elements, 12 at
4,096, 18 at 8,192 and 34 at 16,384; with a call of its own 11, 12, 17 and 28 µs. The gain ends at 4,096 there. A
call costs more where an update of large tensors has just flushed the caches, hence twice that.
"""

STAGE_ELEMENTS = 1 << 18
"""Elements that one call serves: 1 MiB of fp32 per tensor of the rule, so that what was copied in is still cached."""

_PAD = 64
"""Calls are padded to a multiple of this: torch.compile treats the sizes 0 and 1 as special."""


@dataclass
class Batch:
    """What one call serves: a run of the parameters, and its pieces of the area."""

    start: int
    stop: int
    padded: int
    state_vectors: list[Tensor]
    param_views: list[Tensor]
    grad_views: list[Tensor]


class Staging:
    """The area of some small parameters that share a row of numbers.

    Args:
        params: the parameters, each with fewer than ``STAGE_BELOW`` elements.
        grad_dtype: the dtype of their gradients.
        state_names: the state tensors of the rule, in its order.
    """

    def __init__(self, params: list[Tensor], grad_dtype: torch.dtype, state_names: Sequence[str]) -> None:
        self.params = params
        self.state_names = state_names
        self._dtype = real(params[0].detach()).dtype
        self._grad_dtype = grad_dtype.to_real()
        self._is_complex = params[0].is_complex()
        spans = list(_spans(params))
        largest = max(padded for _, _, padded in spans)
        self._param_vector = torch.zeros(largest, dtype=self._dtype, device=params[0].device)
        self._grad_vector = torch.zeros(largest, dtype=self._grad_dtype, device=params[0].device)
        self._batches = [self._batch(*span) for span in spans]
        self._state_views: list[list[Tensor]] = [
            [view for batch in self._batches for view in self._pieces(batch.state_vectors[k], batch.start, batch.stop)]
            for k in range(len(state_names))
        ]

    def adopt(self, states: list[dict[str, Any]]) -> None:
        """Moves the states' values into the area, and makes the states views of it."""
        for name, views in zip(self.state_names, self._state_views, strict=True):
            torch._foreach_copy_(views, [state[name] for state in states])
            for state, view in zip(states, views, strict=True):
                state[name] = view

    def release(self, states: Mapping[Tensor, dict[str, Any]], kept: set[int]) -> None:
        """Gives the states that still are views memory of their own, but for the parameters whose ids are ``kept``."""
        for name, views in zip(self.state_names, self._state_views, strict=True):
            for param, view in zip(self.params, views, strict=True):
                if id(param) not in kept and states.get(param, {}).get(name) is view:
                    states[param][name] = view.clone()

    def owns(self, columns: list[list[Tensor]]) -> bool:
        """Whether these are the views that ``adopt`` made, and not what a user or a checkpoint put there."""
        return all(all(map(is_, column, views)) for column, views in zip(columns, self._state_views, strict=True))

    def update(self, function: Callable[..., None], values: Tensor, grads: list[Tensor]) -> None:
        """Updates all parameters and states in place, in as few calls as the area's size allows."""
        params = self.params
        if self._is_complex:
            params, grads = [real(p) for p in params], [real(g) for g in grads]
        for batch in self._batches:
            span = slice(batch.start, batch.stop)
            torch._foreach_copy_(batch.param_views, params[span])
            torch._foreach_copy_(batch.grad_views, grads[span])
            work = (self._param_vector[: batch.padded], self._grad_vector[: batch.padded], *batch.state_vectors)
            function(values, *[vector.data for vector in work])
            torch._foreach_copy_(params[span], batch.param_views)

    def measure(self, function: Callable[..., None], sums: Tensor, grads: list[Tensor]) -> None:
        """Adds the gradients to ``sums``, in as few calls as the area's size allows."""
        if self._is_complex:
            grads = [real(grad) for grad in grads]
        for batch in self._batches:
            torch._foreach_copy_(batch.grad_views, grads[batch.start : batch.stop])
            vector = self._grad_vector[: batch.padded]
            vector[sum(map(Tensor.numel, batch.grad_views)) :].zero_()  # what another batch left there
            function(sums, vector.data)

    def _batch(self, start: int, stop: int, padded: int) -> Batch:
        device = self._param_vector.device
        return Batch(
            start,
            stop,
            padded,
            [torch.zeros(padded, dtype=self._dtype, device=device) for _ in self.state_names],
            [real(view) for view in self._pieces(self._param_vector, start, stop)],
            [real(view) for view in self._pieces(self._grad_vector, start, stop)],
        )

    def _pieces(self, vector: Tensor, start: int, stop: int) -> list[Tensor]:
        """Views of consecutive pieces of ``vector``, with the parameters' shapes, strides and kind of numbers."""
        params = self.params[start:stop]
        if self._is_complex:
            vector = torch.view_as_complex(vector.view(-1, 2))
        sizes = [param.numel() for param in params]
        pieces = torch.split(vector[: sum(sizes)], sizes)
        return [
            piece.as_strided(param.shape, param.stride()) if is_dense(param) else piece.view(param.shape)
            for piece, param in zip(pieces, params, strict=True)
        ]


def _spans(params: list[Tensor]) -> Iterator[tuple[int, int, int]]:
    """Where each batch starts and stops, and its padded number of reals."""
    start, used = 0, 0
    for i, param in enumerate(params):
        size = real_numel(param)
        if i > start and used + size > STAGE_ELEMENTS:
            yield start, i, max(_PAD, -(-used // _PAD) * _PAD)
            start, used = i, 0
        used += size
    yield start, len(params), max(_PAD, -(-used // _PAD) * _PAD)
