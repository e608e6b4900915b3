"""A bucket's launch table: where its tensors are, how they are cut into chunks, which numbers they use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .addresses import Addresses, read_plainly
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
        self._read = Addresses(slots, len(numels))
        self._noted = np.zeros((slots, len(numels)), dtype=np.int64)
        self._outdated = True
        self._aligned: npt.NDArray[np.bool_] | None = None

    def read(self, columns: Sequence[list[Tensor]], *, alike: bool = False) -> None:
        """Asks all tensors where they are; ``alike`` as :meth:`~.addresses.Addresses.read` has it."""
        self._read.read(columns, alike=alike)

    def point(self, columns: Sequence[list[Tensor]] | None = None) -> Tensor:
        """The table, int64 [slots, tensors], pointing where ``read`` found the tensors, or at these in their place."""
        addresses = self._read.found if columns is None else np.stack(list(map(read_plainly, columns)))
        in_graph = capturing()
        if not (self._outdated or in_graph) and np.array_equal(addresses, self._noted):
            return self._table.tensor
        # First of all: whatever fails below, the next call must not take the old table for this one.
        self._outdated = True
        self._noted[:] = addresses
        self._lay_out()
        table = self._table.write(self._noted)
        # What is written during a capture goes to memory of the graph's own.
        self._outdated = in_graph
        return table

    def _lay_out(self) -> None:
        """Makes the chunk maps anew if other tensors are aligned than before."""
        # A bit that is set in any of a member's addresses is set in this one.
        together = np.bitwise_or.reduce(self._noted[self._shaped])
        aligned: npt.NDArray[np.bool_] = together & (ALIGNMENT - 1) == 0
        if self._aligned is None or not np.array_equal(aligned, self._aligned):
            maps = [(flag, ChunkMap(self.device, self.numels_on_host, aligned == flag)) for flag in (True, False)]
            self.maps = [(flag, chunks) for flag, chunks in maps if chunks.programs]
            self.version += 1
            self._aligned = aligned


def upload(device: torch.device, values: npt.NDArray[np.generic]) -> Tensor:
    """A copy on the device that nothing waits for."""
    return DeviceArray(device, torch.from_numpy(values[:0]).dtype).write(values)
