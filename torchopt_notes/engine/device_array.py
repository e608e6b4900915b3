"""Small arrays that the host writes and a kernel reads, refreshed without ever waiting for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class DeviceArray:
    """A numpy array's copy on a device.

    On a GPU a write goes through pinned memory, copied on the current stream. A pinned buffer that a copy still reads
    must not be overwritten, so there is a ring of them, each with the event that its last copy recorded; the ring grows
    when the oldest is still in flight. A copy captured in a CUDA graph reads its buffer at every replay, so that buffer
    is never written again.

    Attributes:
        tensor: the copy on the device. Its address changes only when the shape does.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.tensor = torch.empty(0, dtype=dtype, device=device)
        self._ring: list[tuple[Tensor, Any]] = []
        self._next = 0
        self._captured: list[Tensor] = []

    def write(self, values: npt.NDArray[Any]) -> None:
        """Makes ``tensor`` equal to ``values``, in the order of the current stream."""
        source = torch.from_numpy(np.ascontiguousarray(values))
        if self.tensor.shape != source.shape:
            self.tensor = torch.empty(source.shape, dtype=self.tensor.dtype, device=self.device)
            self._ring = []
        if self.device.type != "cuda":
            self.tensor.copy_(source)
            return
        if torch.cuda.is_current_stream_capturing():
            buffer = self._spare()
            self._captured.append(buffer)
            buffer.copy_(source)
            self.tensor.copy_(buffer, non_blocking=True)
            return
        buffer, event = self._free_slot()
        buffer.copy_(source)
        self.tensor.copy_(buffer, non_blocking=True)
        event.record()

    def _spare(self) -> Tensor:
        """A buffer that no copy reads. Pinning new memory during a capture would end the capture."""
        if not self._ring:
            raise RuntimeError(
                "a step was captured in a CUDA graph before any step had run; run a few steps on a side stream first, "
                "as torch.cuda.graphs asks for every training step"
            )
        return self._ring.pop(self._next % len(self._ring))[0]

    def _free_slot(self) -> tuple[Tensor, Any]:
        while len(self._ring) < 3:  # two in turn, and one to spare for a capture
            self._grow(len(self._ring))
        self._next = (self._next + 1) % len(self._ring)
        if not self._ring[self._next][1].query():
            self._grow(self._next)
        return self._ring[self._next]

    def _grow(self, position: int) -> None:
        buffer = torch.empty(self.tensor.shape, dtype=self.tensor.dtype, pin_memory=True)
        self._ring.insert(position, (buffer, torch.cuda.Event()))  # type: ignore[no-untyped-call]
