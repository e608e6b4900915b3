"""The launches of adaptive clipping: two for a bucket, before its update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels import units
from .launch import FINISH_UNITS_BLOCK, UNIT_RUN, finish_units_constants, launch, measure_units_constants
from .launch_table import upload
from .layout import compute_dtype
from .rule import Transform


class UnitLaunches:
    """Works out what each unit's gradient is multiplied with.

    Args:
        dtypes: of the parameters, and of the gradients.
        shapes: of the parameters.
    """

    def __init__(
        self, device: torch.device, dtypes: tuple[torch.dtype, torch.dtype], shapes: Sequence[torch.Size]
    ) -> None:
        self.dtypes = dtypes
        reals = 2 if dtypes[0].is_complex else 1
        counts = np.array([shape[0] if len(shape) > 1 else min(1, shape.numel()) for shape in shapes], np.int64)
        width = reals * np.array([shape.numel() for shape in shapes], np.int64) // np.maximum(counts, 1)
        counts = np.where(width > 0, counts, 0)
        per_unit = -(-width // UNIT_RUN)
        runs = counts * per_unit
        first_unit, first_run = np.cumsum(counts) - counts, np.cumsum(runs) - runs
        self._most_runs = int(per_unit.max())
        self._layout = upload(device, np.stack([first_unit, np.maximum(width, 1), first_run], axis=1))
        tensors = np.arange(len(counts), dtype=np.int32)
        self._unit_tensor = upload(device, np.repeat(tensors, counts))
        self._run_tensor = upload(device, np.repeat(tensors, runs))
        self._run_index = upload(device, (np.arange(runs.sum()) - np.repeat(first_run, runs)).astype(np.int32))
        n_runs, n_units = max(int(runs.sum()), 1), max(int(counts.sum()), 1)
        self._partials = torch.zeros(2, n_runs, dtype=torch.float64, device=device)
        self._units = torch.ones(n_units, dtype=compute_dtype(dtypes[0]), device=device)

    def run(
        self, addresses: Tensor, rows: Tensor, tensor_row: Tensor, signal: Tensor, transform: Transform
    ) -> dict[str, Any]:
        """The arguments of kernels that clip by units; those of this are as for ``skeleton.update_bucket``."""
        found = {"units": self._units, "unit_layout": self._layout}
        if len(self._run_tensor) == 0:
            return found
        shared = {
            "unit_layout": self._layout,
            "partials": self._partials,
            "n_partials": self._partials.shape[1],
        }
        launch(
            units.measure_units,
            len(self._run_tensor),
            **shared,
            addresses=addresses,
            chunk_tensor=self._run_tensor,
            chunk_index=self._run_index,
            n_tensors=len(self._layout),
            **measure_units_constants(self.dtypes),
        )
        launch(
            units.finish_units,
            -(-len(self._units) // FINISH_UNITS_BLOCK),
            **shared,
            unit_tensor=self._unit_tensor,
            rows=rows,
            tensor_row=tensor_row,
            signal=signal,
            units=self._units,
            n_units=len(self._units),
            most_runs=self._most_runs,
            **finish_units_constants(transform, self.dtypes[0], rows.shape[1]),
        )
        return found
