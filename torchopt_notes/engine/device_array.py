"""Small arrays that the host writes and a kernel reads, refreshed without ever waiting for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_SPARES = 4
"""Pinned buffers kept ready for captures: pinning memory during one would end it."""


def capturing() -> bool:
    """Whether the current stream is being captured in a CUDA graph."""
    # Not is_available(): it asks the driver, and a process that never used CUDA captures nothing.
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())  # type: ignore[no-untyped-call]


class DeviceArray:
    """A numpy array's copy on a device.

    On a GPU a write goes through pinned memory, copied on the current stream. A pinned buffer that a copy still reads
    must not be overwritten, so there is a ring of them, each with the event that its last copy recorded; the ring grows
    when the oldest is still in flight.

    A write during the capture of a CUDA graph happens at every replay, and only then. It goes into device memory of the
    graph's own, from a pinned buffer that is never written again, so that graphs and ordinary steps do not see each
    other's numbers.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.tensor = torch.empty(0, dtype=dtype, device=device)
        self._ring: list[tuple[Tensor, Any]] = []
        self._next = 0
        self._spares: list[Tensor] = []
        self._captured: list[Tensor] = []

    def write(self, values: npt.NDArray[Any]) -> Tensor:
        """Copies ``values`` to the device, in the order of the current stream.

        Returns:
            The copy. Ordinary writes of one shape share it, and keep it in ``tensor``.
        """
        source = torch.from_numpy(np.ascontiguousarray(values))  # in its own dtype, which every copy below converts
        if self.device.type == "cuda" and capturing():
            return self._write_captured(source)
        if self.tensor.shape != source.shape:
            self.tensor = torch.empty(source.shape, dtype=self.dtype, device=self.device)
            self._ring, self._spares = [], []
        if self.device.type != "cuda":
            return self.tensor.copy_(source)
        while len(self._spares) < _SPARES:
            self._spares.append(self._pinned())
        buffer, event = self._free_slot()
        buffer.copy_(source)
        self.tensor.copy_(buffer, non_blocking=True)
        event.record()
        return self.tensor

    def _write_captured(self, source: Tensor) -> Tensor:
        fitting = [spare for spare in self._spares if spare.shape == source.shape]
        if not fitting:
            raise RuntimeError(
                "too many CUDA graph captures without an ordinary step before them; run a few steps on a side stream "
                "before each capture, as torch.cuda.graphs asks for every training step"
            )
        buffer = fitting[0]
        self._spares = [spare for spare in self._spares if spare is not buffer]
        self._captured.append(buffer)
        buffer.copy_(source)
        return torch.empty_like(self.tensor).copy_(buffer, non_blocking=True)

    def _free_slot(self) -> tuple[Tensor, Any]:
        if not self._ring:
            self._ring.append((self._pinned(), torch.cuda.Event()))  # type: ignore[no-untyped-call]
        self._next = (self._next + 1) % len(self._ring)
        if not self._ring[self._next][1].query():
            self._ring.insert(self._next, (self._pinned(), torch.cuda.Event()))  # type: ignore[no-untyped-call]
        return self._ring[self._next]

    def _pinned(self) -> Tensor:
        return torch.empty(self.tensor.shape, dtype=self.dtype, device="cpu", pin_memory=True)
