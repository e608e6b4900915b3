"""The numbers that a launch reads: worked out on the host, or on the device when the host may not know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..kernels import skeleton
from .buckets import Bucket, States
from .device_array import DeviceArray, capturing
from .group_options import Sharing
from .launch import REFRESH_BLOCK, launch, refresh_constants
from .layout import compute_dtype
from .scalars import N_NUMBERS, Kept, hyperparameters, row, row_length
from .steps import StepCounts

if TYPE_CHECKING:
    from .optimizer import Optimizer


class HostRows:
    """One row per step count and set of options among a bucket's tensors, worked out in Python floats.

    Attributes:
        rows: the numbers, [n_rows, row length].
        tensor_row: int32 [n_tensors], the row of each tensor.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._row_array = DeviceArray(bucket.kind.device, compute_dtype(bucket.kind.dtype))
        self._tensor_row_array = DeviceArray(bucket.kind.device, torch.int32)
        self.rows, self.tensor_row = self._row_array.tensor, self._tensor_row_array.tensor
        self._groups = [member.group for member in bucket.members]
        self._sharing = Sharing(bucket.groups)
        self._steps = StepCounts(bucket.kind.variant.rule.carried)
        self._version = (-1, -1)
        self._first: list[int] = []
        self._kept: list[Kept] = []
        self._inverse: npt.NDArray[np.int32] = np.empty(0, np.int32)

    def refresh(self, optimizer: Optimizer, states: States, signal: Tensor) -> None:
        """Advances the step counts and writes this step's numbers."""
        self._steps.advance(states)
        self._sharing.refresh(optimizer.planned_options(), optimizer.param_groups)
        version = (self._steps.version, self._sharing.version)
        if self._version != version:
            keys = self._steps.keys(self._sharing.of(self._groups))
            _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
            self._first, self._inverse = first.tolist(), inverse.reshape(-1).astype(np.int32)
            self.tensor_row = self._tensor_row_array.write(self._inverse)
            self._kept = [Kept() for _ in self._first]
            self._version = version
        variant = self.bucket.kind.variant
        lines = []
        for i, kept in zip(self._first, self._kept, strict=True):
            group = optimizer.param_groups[self._groups[i]]
            numbers = row(optimizer, group, variant, float(self._steps.values[i]), self._steps.carried(i), kept=kept)
            lines.append([float(value) for value in numbers.values()])
        table = np.array(lines)
        if variant.rule.carried:
            carried = [table[:, N_NUMBERS + k][self._inverse] for k in range(len(variant.rule.carried))]
            self._steps.carry(slice(None), carried)
        self.rows = self._row_array.write(table)


class DeviceRows:
    """One row per tensor, worked out by a kernel from step counts and hyperparameters on the device.

    Attributes: as :class:`HostRows`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        n, device = len(bucket.members), bucket.kind.device
        length = row_length(bucket.kind.variant.rule)
        self.rows = torch.zeros(n, length, dtype=compute_dtype(bucket.kind.dtype), device=device)
        self.tensor_row = torch.arange(n, dtype=torch.int32, device=device)
        place = {group: i for i, group in enumerate(bucket.groups)}
        groups = np.array([place[member.group] for member in bucket.members], dtype=np.int32)
        self._tensor_group = DeviceArray(device, torch.int32).write(groups)
        self._hyper = DeviceArray(device, torch.float64)
        self._hyper_written: list[list[float]] = []
        self._addresses = DeviceArray(device, torch.int64)
        self._addresses_written: list[list[int]] = []

    def refresh(self, optimizer: Optimizer, states: States, signal: Tensor) -> None:
        """Advances the step counts and works out this step's numbers, all on the device."""
        hyper = self._write_hyper(optimizer)
        columns = self._columns(optimizer, states)
        addresses = [list(map(Tensor.data_ptr, column)) for column in columns]
        table = self._addresses.tensor
        if addresses != self._addresses_written or capturing():
            table = self._addresses.write(np.array(addresses, dtype=np.int64))
            self._addresses_written = self._addresses_written if capturing() else addresses
        launch(
            skeleton.refresh_rows,
            -(-len(columns[0]) // REFRESH_BLOCK),
            addresses=table,
            hyper=hyper,
            tensor_group=self._tensor_group,
            signal=signal,
            rows=self.rows,
            n_tensors=len(columns[0]),
            **refresh_constants(self.bucket.kind.variant, columns[0][0].dtype, n_hyper=hyper.shape[1]),
        )

    def _write_hyper(self, optimizer: Optimizer) -> Tensor:
        """Copies what the host knows when it has changed, and what lives on the device at every step."""
        device = self.bucket.kind.device
        values = [hyperparameters(optimizer, optimizer.param_groups[group]) for group in self.bucket.groups]
        on_device = [[isinstance(value, Tensor) and value.device == device for value in line] for line in values]
        known = [
            [0.0 if there else float(value) for value, there in zip(line, flags, strict=True)]
            for line, flags in zip(values, on_device, strict=True)
        ]
        table = self._hyper.tensor
        if known != self._hyper_written or capturing():
            table = self._hyper.write(np.array(known))
            self._hyper_written = self._hyper_written if capturing() else known
        places: npt.NDArray[np.intp] = np.argwhere(np.array(on_device))
        if len(places):
            targets = [table[g, i] for g, i in places.tolist()]
            torch._foreach_copy_(targets, [values[g][i].detach() for g, i in places.tolist()])
        return table

    def _columns(self, optimizer: Optimizer, states: States) -> list[list[Tensor]]:
        """Each tensor's step count and carried numbers on the device, moved there when they are not."""
        if not optimizer.has_step:
            return [states.steps or optimizer.hidden_counts(self.bucket.params, states.fresh)]
        dtype = states.steps[0].dtype
        names = ("step", *self.bucket.kind.variant.rule.carried)
        for state in states.dicts:
            for name in names:
                if state[name].device != self.bucket.kind.device or state[name].dtype != dtype:
                    state[name] = state[name].to(self.bucket.kind.device, dtype, copy=True)
        return [[state[name] for state in states.dicts] for name in names]
