"""The launches that measure many tensors together: one for their sums, one for what follows from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..kernels import norms
from .decision import Question
from .launch import DECIDE_BLOCK, TRITON_DTYPES, launch
from .launch_table import ChunkMap, LaunchTable
from .layout import compute_dtype

NORM_BLOCK = 4096
"""Elements per program: 8 accesses of 128 bits per thread in flight for fp32, with nothing to compute between them."""


class NormLaunches:
    """Sums over one slot of a launch table, whatever the number of its tensors."""

    def __init__(self, table: LaunchTable, dtype: torch.dtype, *, slot: int) -> None:
        self.table, self.dtype, self.slot = table, dtype, slot
        self._version = -1
        self._maps: list[tuple[bool, ChunkMap]] = []
        self._partials = torch.empty(0)

    @property
    def memory(self) -> tuple[Any, ...]:
        """What launches read and write besides their arguments."""
        return self._maps, self._partials

    def sums(self, addresses: Tensor, order: float) -> Tensor:
        """Partial sums, as :func:`~.norms.power_sums` has them, fp64 [2, programs]. Overwritten by the next call."""
        table = self.table
        if self._version != table.version:
            self._maps = [
                (aligned, ChunkMap(table.device, table.numels_on_host, chunks.chosen, NORM_BLOCK))
                for aligned, chunks in table.maps
            ]
            programs = sum(chunks.programs for _, chunks in self._maps)
            self._partials = torch.zeros(2, max(programs, 1), dtype=torch.float64, device=table.device)
            self._version = table.version
        first = 0
        for aligned, chunks in self._maps:
            launch(
                norms.sum_bucket,
                chunks.programs,
                addresses=addresses,
                numels=table.numels,
                chunk_tensor=chunks.tensor,
                chunk_index=chunks.index,
                partials=self._partials,
                slot=self.slot,
                n_tensors=len(table.numels_on_host),
                first_partial=first,
                n_partials=self._partials.shape[1],
                **sum_constants(self.dtype, order, aligned=aligned),
            )
            first += chunks.programs
        return self._partials


def launch_decision(
    question: Question, partials: Tensor | None, limit: Tensor | None, signal: Tensor, skipped: Tensor
) -> None:
    """Writes the answer to ``signal``; see ``kernels.norms.decide``."""
    device = signal.device
    grad_scale, found_inf = (
        None if value is None else value.to(device, torch.float32, non_blocking=True)
        for value in (question.grad_scale, question.found_inf)
    )
    launch(
        norms.decide,
        1,
        # Pointers that the code does not use, where there is nothing.
        partials=signal if partials is None else partials,
        limits=signal if limit is None else limit,
        grad_scale=signal if grad_scale is None else grad_scale,
        found_inf=signal if found_inf is None else found_inf,
        signal=signal,
        skipped=skipped,
        n_partials=1 if partials is None else partials.shape[1],
        **decision_constants(
            question.order,
            question.precision,
            measured=partials is not None,
            limited=limit is not None,
            unscaled=grad_scale is not None,
            found=found_inf is not None,
            check=question.check,
        ),
    )


def sum_constants(dtype: torch.dtype, order: float, *, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``norms.sum_bucket``."""
    return {"DTYPE": TRITON_DTYPES[dtype], "ORDER": order, "ALIGNED": aligned, "BLOCK": NORM_BLOCK}


def decision_constants(
    order: float,
    precision: torch.dtype,
    *,
    measured: bool,
    limited: bool,
    unscaled: bool,
    found: bool,
    check: bool,
) -> dict[str, Any]:
    """The compile-time arguments of ``norms.decide``."""
    return {
        "ORDER": order,
        "PRECISION": TRITON_DTYPES[precision],
        "MEASURED": measured,
        "LIMITED": limited,
        "UNSCALED": unscaled,
        "FOUND": found,
        "CHECK": check,
        "BLOCK": DECIDE_BLOCK,
    }


def scale_constants(dtype: torch.dtype, *, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``norms.scale_bucket``."""
    return {
        "DTYPE": TRITON_DTYPES[dtype],
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtype)],
        "ALIGNED": aligned,
        "BLOCK": NORM_BLOCK,
    }
