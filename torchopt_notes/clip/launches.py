"""The launches for one device: one per dtype to sum, one to decide, one per dtype to change the gradients.

Tensors whose addresses are no multiples of 16 bytes take launches of their own. Nothing is read back.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.launch import DECIDE_BLOCK, TRITON_DTYPES, launch
from ..engine.launch_table import ALIGNMENT, ChunkMap, upload
from ..engine.layout import compute_dtype, real_numel
from ..engine.norm_launches import NORM_BLOCK, scale_constants, sum_constants
from ..kernels import clip, norms


class Table:
    """Where tensors of one device and dtype are, on that device, and how they are cut into chunks.

    Made anew for every call, in one copy that nothing waits for. Only what depends on sizes alone is kept.

    Args:
        columns: tensors by slot; those of a row are equally large.
        number: what kernels find in ``number``, fp64 [1].
    """

    def __init__(self, columns: Sequence[Sequence[Tensor]], number: float = 0.0, *, block: int = NORM_BLOCK) -> None:
        self.tensors = columns[-1]
        self.device, self.dtype = self.tensors[0].device, self.tensors[0].dtype
        addresses = [tensor.data_ptr() for column in columns for tensor in column]
        # Two places ahead of the addresses, which then begin at a multiple of 16 bytes.
        head = [*struct.unpack("q", struct.pack("d", number)), 0]
        on_gpu = self.device.type == "cuda"
        packed = torch.tensor(head + addresses, dtype=torch.int64, device="cpu", pin_memory=on_gpu)
        packed = packed.to(self.device, non_blocking=True)
        self.number, self.addresses = packed[:1].view(torch.float64), packed[2:]
        aligned = (np.array(addresses).reshape(len(columns), -1) % ALIGNMENT == 0).all(axis=0)
        self.numels, self.maps = _chunk_maps(
            self.device, stream_of(self.device), block, tuple(map(real_numel, self.tensors)), tuple(aligned.tolist())
        )
        self.programs = sum(chunks.programs for _, chunks in self.maps)

    def launch(self, kernel: Any, chunks: ChunkMap, **arguments: Any) -> None:
        """Starts ``kernel`` on the chunks."""
        launch(
            kernel,
            chunks.programs,
            addresses=self.addresses,
            numels=self.numels,
            chunk_tensor=chunks.tensor,
            chunk_index=chunks.index,
            n_tensors=len(self.tensors),
            **arguments,
        )


class Launches:
    """What kernels do with one device's tensors.

    Args:
        columns: the tensors, each dtype's in a list of its own.
        limit: what they are to be clipped to, or None.
    """

    def __init__(self, device: torch.device, columns: Sequence[Sequence[Tensor]], limit: float | None) -> None:
        self.device = device
        self._limited = limit is not None
        with on(device):
            self._tables = [Table([column], limit or 0.0) for column in columns]
        self._decided: tuple[Tensor, Tensor] | None = None

    def norm(self, order: float, dtype: torch.dtype) -> Tensor:
        """The norm of all tensors, 0-d. What they are to be multiplied with is worked out at the same time."""
        with on(self.device):
            programs = sum(table.programs for table in self._tables)
            partials = torch.empty(2, programs, dtype=torch.float64, device=self.device)
            first = 0
            for table in self._tables:
                for aligned, chunks in table.maps:
                    table.launch(
                        norms.sum_bucket,
                        chunks,
                        partials=partials,
                        slot=0,
                        first_partial=first,
                        n_partials=programs,
                        **sum_constants(table.dtype, order, aligned=aligned),
                    )
                    first += chunks.programs
            norm = torch.empty((), dtype=dtype, device=self.device)
            self._decide(norm, partials, order)
            return norm

    def scale(self, norm: Tensor) -> None:
        """Multiplies all tensors with what clips this norm to the limit."""
        with on(self.device):
            if self._decided is None or self._decided[0] is not norm:
                self._decide(norm.to(self.device, non_blocking=True), None, 2.0)
            assert self._decided is not None, "that is what deciding does"
            for table in self._tables:
                for aligned, chunks in table.maps:
                    constants = scale_constants(table.dtype, aligned=aligned)
                    table.launch(norms.scale_bucket, chunks, signal=self._decided[1], slot=0, **constants)
                torch.autograd.graph.increment_version(table.tensors)

    def clamp(self) -> None:
        """Clips every element to ±limit."""
        with on(self.device):
            for table in self._tables:
                for aligned, chunks in table.maps:
                    constants = clamp_constants(table.dtype, aligned=aligned)
                    table.launch(clip.clamp_bucket, chunks, limit=table.number, **constants)
                torch.autograd.graph.increment_version(table.tensors)

    def _decide(self, norm: Tensor, partials: Tensor | None, order: float) -> None:
        signal = torch.empty(2, dtype=torch.float64, device=self.device)
        launch(
            clip.decide,
            1,
            # A pointer that the code does not use, where nothing was measured.
            partials=signal if partials is None else partials,
            norm=norm,
            limit=self._tables[0].number,
            signal=signal,
            n_partials=0 if partials is None else partials.shape[1],
            **decide_constants(norm.dtype, order, measured=partials is not None, limited=self._limited),
        )
        self._decided = (norm, signal)


def on(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Makes it the current device: kernels are launched there."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def decide_constants(dtype: torch.dtype, order: float, *, measured: bool, limited: bool) -> dict[str, Any]:
    """The compile-time arguments of ``clip.decide``, for a norm of this dtype."""
    choices = {"MEASURED": measured, "LIMITED": limited}
    return {"ORDER": order, "DTYPE": TRITON_DTYPES[dtype], **choices, "BLOCK": DECIDE_BLOCK}


def clamp_constants(dtype: torch.dtype, *, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``clip.clamp_bucket``."""
    dtypes = {"DTYPE": TRITON_DTYPES[dtype], "COMPUTE": TRITON_DTYPES[compute_dtype(dtype)]}
    return {**dtypes, "ALIGNED": aligned, "BLOCK": NORM_BLOCK}


@functools.lru_cache(maxsize=16)
def _chunk_maps(
    device: torch.device, stream: int, block: int, numels: tuple[int, ...], aligned: tuple[bool, ...]
) -> tuple[Tensor, list[tuple[bool, ChunkMap]]]:
    """The sizes on the device, and the chunk maps, as :class:`~..engine.launch_table.LaunchTable` has them.

    Never written again, so that any number of calls may share them. A stream has its own: another one would have to
    wait until they are there.
    """
    sizes, flags = np.array(numels, dtype=np.int64), np.array(aligned)
    maps = [(flag, ChunkMap(device, sizes, flags == flag, block)) for flag in (True, False)]
    return upload(device, sizes), [(flag, chunks) for flag, chunks in maps if chunks.programs]


def stream_of(device: torch.device) -> int:
    """What tells the current stream of a device from others."""
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else 0
