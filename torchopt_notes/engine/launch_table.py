"""A bucket's launch table: where its tensors are, how they are cut into chunks, which numbers they use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .device_array import DeviceArray, capturing

BLOCK = 1024
"""Elements per program: 8 per thread at 4 warps, the fewest that make a 128-bit access of 16-bit dtypes."""

ALIGNMENT = 16
"""Bytes that an address must be a multiple of for 128-bit access."""


class ChunkMap:
    """Which tensor, and which chunk of so many elements of it, each program of a launch serves."""

    def __init__(
        self,
        device: torch.device,
        numels: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.bool_],
        block: int = BLOCK,
    ) -> None:
        counts = np.where(chosen, -(-numels // block), 0)
        self.programs = int(counts.sum())
        self.chosen = chosen
        self.first = np.cumsum(counts) - counts
        self.tensor = upload(device, np.repeat(np.arange(len(numels), dtype=np.int32), counts))
        self.index = upload(device, (np.arange(self.programs) - np.repeat(self.first, counts)).astype(np.int32))


class LaunchTable:
    """The addresses of a bucket's tensors on the device, with the chunk maps that go with them.

    A table has a column of tensors per slot: parameters, gradients, then the states, each in the bucket's order.

    Tensors whose addresses are all multiples of 16 bytes go in one launch, with 128-bit access; the others (views into
    flat buffers) in a second one without that promise.

    Args:
        numels: how many reals each parameter holds.
        shaped: the slots whose tensors are shaped like the parameter, and are accessed in chunks.

    Attributes:
        maps: the chunk maps, and whether their tensors' addresses may be promised to be aligned.
        version: changes with the maps.
    """

    def __init__(self, device: torch.device, numels: Sequence[int], shaped: Sequence[int]) -> None:
        self.device = device
        self._shaped = list(shaped)
        self.numels_on_host = np.array(numels, dtype=np.int64)
        self.numels = upload(device, self.numels_on_host)
        self.maps: list[tuple[bool, ChunkMap]] = []
        self.version = 0
        self._table = DeviceArray(device, torch.int64)
        self._written: list[list[int]] = []
        self._read: list[list[int]] = []
        self._aligned: npt.NDArray[np.bool_] | None = None

    def moved(self, columns: Sequence[Sequence[Tensor]]) -> set[int]:
        """The slots in which some tensor is elsewhere than when this was last asked."""
        read = _addresses(columns)
        changed = {slot for slot, now in enumerate(read) if slot >= len(self._read) or now != self._read[slot]}
        self._read = read
        return changed

    def point(self, columns: Sequence[Sequence[Tensor]] | None = None) -> Tensor:
        """The table, int64 [slots, tensors], pointing at what ``moved`` read, or at these tensors in their place."""
        addresses = self._read if columns is None else _addresses(columns)
        in_graph = capturing()
        if addresses == self._written and not in_graph:
            return self._table.tensor
        table = np.array(addresses, dtype=np.int64)
        aligned = (table[self._shaped] % ALIGNMENT == 0).all(axis=0)
        if self._aligned is None or not np.array_equal(aligned, self._aligned):
            self._aligned = aligned
            maps = [(flag, ChunkMap(self.device, self.numels_on_host, aligned == flag)) for flag in (True, False)]
            self.maps = [(flag, chunks) for flag, chunks in maps if chunks.programs]
            self.version += 1
        if not in_graph:
            self._written = addresses
        return self._table.write(table)


def _addresses(columns: Sequence[Sequence[Tensor]]) -> list[list[int]]:
    return [list(map(Tensor.data_ptr, column)) for column in columns]


def upload(device: torch.device, values: npt.NDArray[np.generic]) -> Tensor:
    """A copy on the device that nothing waits for."""
    return DeviceArray(device, torch.from_numpy(values[:0]).dtype).write(values)
