"""The Triton backend: one launch per bucket, over a launch table; one more for the norm of all gradients.

Step counts on the host (the default): the numbers of the step are worked out there, once per parameter group, and
travel in one small copy. Step counts, or a learning rate, on the device (``capturable``, ``fused=True``, a tensor lr):
a small kernel advances the counts and works the numbers out where they are, so that nothing is ever read back.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..kernels import skeleton
from .buckets import Bucket, States
from .device_array import capturing
from .launch import launch, update_constants
from .launch_table import LaunchTable
from .layerwise import LayerwiseLaunches
from .layout import dense_copy, is_dense, real_numel, same_layout, units_in_order
from .norm_launches import NormLaunches
from .norms import power_sums
from .rows import DeviceRows, HostRows
from .scalars import lives_on_device
from .transform import Signal
from .unit_launches import UnitLaunches

if TYPE_CHECKING:
    from .optimizer import Optimizer


class FusedRunner:
    """Runs a bucket's rule as one kernel launch."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        rule = bucket.kind.variant.rule
        layouts = [rule.layout(name) for name in bucket.kind.state_names]
        self.shaped = [0, 1, *[slot for slot, layout in enumerate(layouts, 2) if layout is None]]
        numels = list(map(real_numel, bucket.params))
        self.table = LaunchTable(bucket.kind.device, numels, 2 + len(layouts), self.shaped)
        self._layerwise = (
            LayerwiseLaunches(bucket.kind, rule.norms, self.table, bucket.shapes) if rule.norms is not None else None
        )
        self._copied = [0, 1, *[slot for slot, layout in enumerate(layouts, 2) if layout != "scalar"]]
        self._matrices = rule.span == "matrix"
        self._odd: list[int] = []
        self._held: list[Any] = []
        self._pointed: tuple[list[list[Tensor]] | None, Tensor] | None = None
        self._norms = NormLaunches(self.table, bucket.kind.grad_dtype, slot=1)
        self._units = self._unit_launches()
        self._no_signal = torch.zeros(3, dtype=torch.float64, device=bucket.kind.device)
        self._on_host: HostRows | None = None
        self._on_device: DeviceRows | None = None

    def fits(self, grads: list[Tensor], states: States) -> bool:
        """Reads every address, and looks at all layouts if any has changed."""
        self._pointed = None
        columns = [self.bucket.params, grads, *states.columns]
        if self.bucket.relaid:
            for column, dtype in zip(states.columns, self.bucket.kind.state_dtypes, strict=True):
                if not all(state.dtype is dtype for state in column):
                    return False
            self._odd = self._find_odd(columns)
        self.table.read(columns, alike=not self.bucket.relaid)
        return True

    def release(self, optimizer: Optimizer, kept: set[int]) -> None:
        """Step counts share one small vector, which may stay as it is."""

    def measure(self, grads: list[Tensor], states: States, order: float) -> Tensor:
        """See :class:`~.buckets.Runner`."""
        with self._device():
            dense, addresses = self._point(grads, states)
            # Copies are not kept until the update, which may not happen.
            self._pointed = (None, addresses) if dense is None else None
            if self.bucket.kind.grad_dtype.is_complex and order != 2:
                return power_sums(grads, order)  # pairs of reals have no other norm in common with complex numbers
            return self._norms.sums(addresses, order)

    def run(self, optimizer: Optimizer, grads: list[Tensor], states: States, signal: Signal) -> None:
        """Updates the bucket's parameters and states in place."""
        params = self.bucket.params
        columns = [params, grads, *states.columns]
        with self._device():
            dense, addresses = self._pointed or self._point(grads, states)
            self._pointed = None
            decided = self._no_signal if signal.tensor is None else signal.tensor
            self._launch(addresses, self._rows(optimizer, states, decided), decided)
        if dense is not None:
            for slot in (0, *self._copied[2:]):
                torch._foreach_copy_([columns[slot][i] for i in self._odd], [dense[slot][i] for i in self._odd])
        if capturing():
            # The graph reads and writes there at every replay, also when something has taken their place here.
            self._held.append((self.table.maps, self._norms.memory, self._layerwise and self._layerwise.memory))
        # Autograd must learn of the change, so that a backward pass through the old values fails.
        torch.autograd.graph.increment_version(params)

    def _device(self) -> contextlib.AbstractContextManager[None]:
        device = self.bucket.kind.device
        return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()

    def _point(self, grads: list[Tensor], states: States) -> tuple[list[list[Tensor]] | None, Tensor]:
        """Dense copies in place of odd tensors, if there are any, and the table that points at what is to be used."""
        columns = [self.bucket.params, grads, *states.columns]
        dense = [self._dense(slot, column) for slot, column in enumerate(columns)] if self._odd else None
        return dense, self.table.point(dense)

    def _launch(self, addresses: Tensor, rows: HostRows | DeviceRows, signal: Tensor) -> None:
        kind = self.bucket.kind
        shared = {
            "addresses": addresses,
            "numels": self.table.numels,
            "rows": rows.rows,
            "tensor_row": rows.tensor_row,
            "signal": signal,
            # Pointers that the code does not use, where nothing is clipped by units.
            "units": rows.rows,
            "unit_layout": self.table.numels,
            "n_tensors": len(self.bucket.params),
        }
        if self._units is not None:
            shared |= self._units.run(addresses, rows.rows, rows.tensor_row, signal, kind.variant.transform)
        if self._layerwise is not None:
            self._layerwise.run(shared)
            return
        for aligned, chunks in self.table.maps:
            launch(
                skeleton.update_bucket,
                chunks.programs,
                **shared,
                chunk_tensor=chunks.tensor,
                chunk_index=chunks.index,
                **self._constants[aligned],
            )

    @cached_property
    def _constants(self) -> dict[bool, dict[str, Any]]:
        """The compile-time arguments of the update, for addresses that are aligned and for such as are not."""
        kind = self.bucket.kind
        dtypes = (kind.dtype, kind.grad_dtype, *kind.state_dtypes)
        return {aligned: update_constants(kind.variant, dtypes, aligned=aligned) for aligned in (True, False)}

    def _unit_launches(self) -> UnitLaunches | None:
        kind = self.bucket.kind
        if not kind.variant.transform.adaptive:
            return None
        return UnitLaunches(kind.device, (kind.dtype, kind.grad_dtype), self.bucket.shapes)

    def _find_odd(self, columns: list[list[Tensor]]) -> list[int]:
        """The members with a tensor that is no gapless run of memory in the parameter's order."""
        params = self.bucket.params
        if self._matrices:
            return [i for i, own in enumerate(zip(*columns, strict=True)) if not all(map(Tensor.is_contiguous, own))]
        strides = [list(map(Tensor.stride, columns[slot])) for slot in self.shaped]
        if not self.bucket.kind.dtype.is_complex and all(other == strides[0] for other in strides):
            return [i for i, param in enumerate(params) if not self._in_order(param)]
        return [
            i
            for i, own in enumerate(zip(*[columns[slot] for slot in self.shaped], strict=True))
            if not (self._in_order(own[0]) and all(same_layout(tensor, own[0]) for tensor in own))
        ]

    def _in_order(self, param: Tensor) -> bool:
        """Whether the parameter's memory can be walked as one run, unit by unit if units are looked at."""
        return is_dense(param) and (self._units is None or units_in_order(param))

    def _dense(self, slot: int, column: list[Tensor]) -> list[Tensor]:
        """The column with dense copies in place of its odd tensors."""
        column = list(column)
        for i in self._odd if slot in self._copied else ():
            column[i] = dense_copy(column[i])
        return column

    def _rows(self, optimizer: Optimizer, states: States, signal: Tensor) -> HostRows | DeviceRows:
        """The numbers of this step, refreshed."""
        rows: HostRows | DeviceRows
        if lives_on_device(optimizer, self.bucket):
            rows = self._on_device = self._on_device or DeviceRows(self.bucket)
        else:
            rows = self._on_host = self._on_host or HostRows(self.bucket)
        rows.refresh(optimizer, states, signal)
        return rows
