"""The launches of a rule that looks at whole tensors: measure, finish, apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..kernels import layerwise
from .buckets import Kind
from .factored import Factors
from .launch import apply_constants, finish_constants, launch, measure_constants
from .launch_table import LaunchTable, upload
from .layout import compute_dtype
from .rule import Norms


class LayerwiseLaunches:
    """Runs a bucket's layer-wise rule in three launches, however many tensors there are; six with factors."""

    def __init__(self, kind: Kind, norms: Norms, table: LaunchTable, shapes: Sequence[torch.Size]) -> None:
        self.kind, self.norms, self.table = kind, norms, table
        rule = kind.variant.rule
        states = list(enumerate(zip(kind.state_names, kind.state_dtypes, strict=True), 2))
        self.shaped = (kind.dtype, kind.grad_dtype, *[d for _, (name, d) in states if rule.layout(name) is None])
        self.scalar_states = [(slot, dtype) for slot, (name, dtype) in states if rule.layout(name) == "scalar"]
        compute = compute_dtype(kind.dtype)
        # What was rounded when it was stored must not be measured: the update would see other numbers.
        self.early = norms.advances and all(dtype.to_real() == compute for dtype in self.shaped[2:])
        self.numbers = torch.zeros(len(table.numels_on_host), norms.numbers, dtype=compute, device=kind.device)
        self._partials = torch.empty(0, dtype=compute, device=kind.device)
        self._first = torch.empty(0, dtype=torch.int64, device=kind.device)
        self._version = -1
        self._factors = Factors(kind, shapes) if rule.span == "matrix" else None

    @property
    def memory(self) -> tuple[Any, ...]:
        """What launches read and write besides their arguments, and may be replaced."""
        return self._partials, self._first

    def run(self, shared: dict[str, Any]) -> None:
        """One step of the bucket, with the arguments that all its kernels take."""
        if self._version != self.table.version:
            self._lay_out()
        if self._factors is not None:
            self._factors.run(shared)
        # Rules without factors are given pointers that their code does not use.
        factors = {
            "factors": self._factors.values if self._factors is not None else self.numbers,
            "layout": self._factors.layout if self._factors is not None else self.table.numels,
        }
        variant = self.kind.variant
        first = 0
        for aligned, chunks in self.table.maps:
            launch(
                layerwise.measure_bucket,
                chunks.programs,
                **shared,
                **factors,
                chunk_tensor=chunks.tensor,
                chunk_index=chunks.index,
                partials=self._partials,
                first_partial=first,
                n_partials=self._partials.shape[1],
                **measure_constants(variant, self.shaped, early=self.early, aligned=aligned),
            )
            first += chunks.programs
        launch(
            layerwise.finish_bucket,
            len(self.numbers),
            **{name: value for name, value in shared.items() if name not in ("units", "unit_layout")},
            first_chunk=self._first,
            partials=self._partials,
            numbers=self.numbers,
            n_partials=self._partials.shape[1],
            **finish_constants(variant, self.scalar_states),
        )
        for aligned, chunks in self.table.maps:
            launch(
                layerwise.apply_bucket,
                chunks.programs,
                **shared,
                **factors,
                chunk_tensor=chunks.tensor,
                chunk_index=chunks.index,
                numbers=self.numbers,
                **apply_constants(variant, self.shaped, early=self.early, aligned=aligned),
            )

    def _lay_out(self) -> None:
        """Where each tensor's sums lie: the chunks of all maps side by side."""
        first = np.zeros(len(self.numbers), np.int64)
        programs = 0
        for _, chunks in self.table.maps:
            first = np.where(chunks.chosen, programs + chunks.first, first)
            programs += chunks.programs
        self._first = upload(self.kind.device, first)
        self._partials = torch.zeros(
            self.norms.sums, max(programs, 1), dtype=self._partials.dtype, device=self.kind.device
        )
        self._version = self.table.version
