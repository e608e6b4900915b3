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
        slots: how many columns there are.
        shaped: the slots whose tensors are shaped like the parameter, and are accessed in chunks.

    Attributes:
        maps: the chunk maps, and whether their tensors' addresses may be promised to be aligned.
        version: changes with the maps.
    """

    def __init__(self, device: torch.device, numels: Sequence[int], slots: int, shaped: Sequence[int]) -> None:
        self.device = device
        self._shaped = list(shaped)
        self.numels_on_host = np.array(numels, dtype=np.int64)
        self.numels = upload(device, self.numels_on_host)
        self.maps: list[tuple[bool, ChunkMap]] = []
        self.version = 0
        self._table = DeviceArray(device, torch.int64)
        self._on_host = np.zeros((slots, len(numels)), dtype=np.int64)
        self._read: list[list[int]] = []
        self._noted: list[list[int]] = [[] for _ in range(slots)]
        self._outdated = False
        self._slot_aligned = np.zeros(self._on_host.shape, dtype=np.bool_)
        self._aligned: npt.NDArray[np.bool_] | None = None

    def read(self, columns: Sequence[Sequence[Tensor]]) -> None:
        """Asks all tensors where they are."""
        self._read = _addresses(columns)

    def point(self, columns: Sequence[Sequence[Tensor]] | None = None) -> Tensor:
        """The table, int64 [slots, tensors], pointing where ``read`` found the tensors, or at these in their place."""
        addresses = self._read if columns is None else _addresses(columns)
        moved = [slot for slot, now in enumerate(addresses) if now != self._noted[slot]]
        in_graph = capturing()
        if not (moved or in_graph or self._outdated):
            return self._table.tensor
        # First of all: whatever fails below, the next call must not take the old table for this one.
        self._outdated = True
        for slot in moved:
            self._on_host[slot] = addresses[slot]
            self._slot_aligned[slot] = self._on_host[slot] % ALIGNMENT == 0
        self._noted = addresses
        self._lay_out()
        table = self._table.write(self._on_host)
        # What is written during a capture goes to memory of the graph's own.
        self._outdated = in_graph
        return table

    def _lay_out(self) -> None:
        """Makes the chunk maps anew if other tensors are aligned than before."""
        aligned: npt.NDArray[np.bool_] = np.logical_and.reduce(self._slot_aligned[self._shaped])
        if self._aligned is None or not np.array_equal(aligned, self._aligned):
            maps = [(flag, ChunkMap(self.device, self.numels_on_host, aligned == flag)) for flag in (True, False)]
            self.maps = [(flag, chunks) for flag, chunks in maps if chunks.programs]
            self.version += 1
            self._aligned = aligned


def _addresses(columns: Sequence[Sequence[Tensor]]) -> list[list[int]]:
    return [list(map(Tensor.data_ptr, column)) for column in columns]


def upload(device: torch.device, values: npt.NDArray[np.generic]) -> Tensor:
    """A copy on the device that nothing waits for."""
    return DeviceArray(device, torch.from_numpy(values[:0]).dtype).write(values)
