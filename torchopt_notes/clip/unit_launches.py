"""The launches of adaptive clipping: the optimizers' two, and one that multiplies the gradients."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engine.launch import TRITON_DTYPES, transform_constant
from ..engine.launch_table import BLOCK
from ..engine.layout import compute_dtype
from ..engine.rule import Transform
from ..engine.scalars import N_NUMBERS
from ..engine.unit_launches import UnitLaunches
from ..kernels import clip
from .launches import Table, on, stream_of

ADAPTIVE = Transform(adaptive=True)


def clip_units(params: Sequence[Tensor], grads: Sequence[Tensor], clip_factor: float, eps: float) -> None:
    """Clips gradients that share device and dtype, and whose parameters do, in place."""
    first = params[0]
    with on(first.device):
        table = Table([params, grads], block=BLOCK)
        shapes = tuple(param.shape for param in params)
        launches, tensor_row = _unit_launches(
            first.device, (first.dtype, table.dtype), shapes, stream_of(first.device), threading.get_ident()
        )
        # A row of the transform's numbers, as optimizers have one for each group.
        row = torch.tensor(
            [[0.0, clip_factor, eps, *[0.0] * (N_NUMBERS - 3)]],
            dtype=compute_dtype(first.dtype),
            device="cpu",
            pin_memory=first.device.type == "cuda",
        ).to(first.device, non_blocking=True)
        found = launches.run(table.addresses, row, tensor_row, row, ADAPTIVE)  # no signal, and nobody reads one
        for aligned, chunks in table.maps:
            table.launch(clip.scale_units, chunks, **found, **scale_units_constants(table.dtype, aligned=aligned))
    torch.autograd.graph.increment_version(grads)


def scale_units_constants(dtype: torch.dtype, *, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``clip.scale_units``."""
    return {
        "DTYPE": TRITON_DTYPES[dtype],
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtype)],
        "TRANSFORM": transform_constant(ADAPTIVE),
        "ALIGNED": aligned,
        "BLOCK": BLOCK,
    }


@functools.lru_cache(maxsize=8)
def _unit_launches(
    device: torch.device,
    dtypes: tuple[torch.dtype, torch.dtype],
    shapes: tuple[torch.Size, ...],
    stream: int,
    thread: int,
) -> tuple[UnitLaunches, Tensor]:
    """The launches for tensors of these shapes, and which row each of them uses: all the only one.

    The launches write to memory of their own, in the order of one stream and thread, so each has its own.
    """
    tensor_row = torch.zeros(len(shapes), dtype=torch.int32, device=device)
    return UnitLaunches(device, dtypes, shapes), tensor_row
