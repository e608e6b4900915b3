"""The Triton backend: one launch per bucket, over a launch table.

Step counts on the host (the default): the numbers of the step are worked out there, once per parameter group, and
travel in one small copy. Step counts, or a learning rate, on the device (``capturable``, ``fused=True``, a tensor lr):
a small kernel advances the counts and works the numbers out where they are, so that nothing is ever read back.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kernels import skeleton
from .buckets import Bucket, States
from .launch import NUM_WARPS, launch, update_constants
from .launch_table import LaunchTable
from .layout import dense_copy, is_dense, same_layout
from .rows import DeviceRows, HostRows, lives_on_device

if TYPE_CHECKING:
    from .optimizer import Optimizer


class FusedRunner:
    """Runs a bucket's rule as one kernel launch."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        factor = 2 if bucket.dtype.is_complex else 1
        self.table = LaunchTable(bucket.device, [member.param.numel() * factor for member in bucket.members])
        self._seen: list[list[weakref.ref[Tensor]]] = []
        self._strides: list[tuple[int, ...]] = []
        self._odd: list[int] = []
        self._on_host: HostRows | None = None
        self._on_device: DeviceRows | None = None

    def run(self, optimizer: Optimizer, grads: list[Tensor]) -> None:
        """Updates the bucket's parameters and states in place."""
        states = optimizer.gather_states(self.bucket)
        params = [member.param for member in self.bucket.members]
        columns: list[Sequence[Tensor]] = [params, grads, *zip(*states.tensors, strict=True)]
        self._inspect(columns)
        copies = self._copy_odd(columns)
        guard = torch.cuda.device(self.bucket.device) if self.bucket.device.type == "cuda" else contextlib.nullcontext()
        with guard:
            self.table.point_at([dense or column for dense, column in zip(copies, columns, strict=True)])
            self._launch(columns, self._rows(optimizer, states))
        for i, (dense, column) in enumerate(zip(copies, columns, strict=True)):
            if dense and i != 1:
                torch._foreach_copy_([column[k] for k in self._odd], [dense[k] for k in self._odd])
        # Autograd must learn of the change, so that a backward pass through the old values fails.
        torch.autograd.graph.increment_version(params)

    def _launch(self, columns: list[Sequence[Tensor]], rows: HostRows | DeviceRows) -> None:
        dtypes = tuple(column[0].dtype for column in columns)
        for aligned, chunks in self.table.maps:
            launch(
                skeleton.update_bucket,
                chunks.programs,
                addresses=self.table.addresses.tensor,
                numels=self.table.numels,
                chunk_tensor=chunks.tensor,
                chunk_index=chunks.index,
                rows=rows.rows.tensor,
                tensor_row=rows.tensor_row.tensor,
                n_tensors=len(self.bucket.members),
                num_warps=NUM_WARPS,
                **update_constants(self.bucket.variant, dtypes, aligned=aligned),
            )

    def _inspect(self, columns: list[Sequence[Tensor]]) -> None:
        """Finds the tensors that are no gapless run of memory in their parameter's order.

        Looked at again whenever a tensor is another one than before, or a parameter's strides have changed.
        """
        strides = list(map(Tensor.stride, columns[0]))
        if (
            strides == self._strides
            and len(columns) == len(self._seen) + 1
            and all(
                all(map(is_, column, [ref() for ref in seen]))
                for column, seen in zip(columns[1:], self._seen, strict=True)
            )
        ):
            return
        self._strides = strides
        self._seen = [[weakref.ref(tensor) for tensor in column] for column in columns[1:]]
        self._odd = [
            i
            for i, own in enumerate(zip(*columns, strict=True))
            if not (is_dense(own[0]) and all(same_layout(tensor, own[0]) for tensor in own[1:]))
        ]

    def _copy_odd(self, columns: list[Sequence[Tensor]]) -> list[list[Tensor] | None]:
        """Per slot, the tensors with dense copies in place of the odd ones, or None when there is none."""
        if not self._odd:
            return [None] * len(columns)
        odd = set(self._odd)
        return [[dense_copy(tensor) if k in odd else tensor for k, tensor in enumerate(column)] for column in columns]

    def _rows(self, optimizer: Optimizer, states: States) -> HostRows | DeviceRows:
        """The numbers of this step, refreshed."""
        rows: HostRows | DeviceRows
        if lives_on_device(optimizer, self.bucket):
            rows = self._on_device = self._on_device or DeviceRows(self.bucket)
        else:
            rows = self._on_host = self._on_host or HostRows(self.bucket)
        rows.refresh(optimizer, states)
        return rows
