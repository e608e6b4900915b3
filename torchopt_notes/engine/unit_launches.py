"""The launches of adaptive clipping: two for a bucket, before its update."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels import units
from .buckets import Bucket
from .launch import FINISH_UNITS_BLOCK, UNIT_RUN, finish_units_constants, launch, measure_units_constants
from .launch_table import upload
from .layout import compute_dtype, real_numel
from .rows import DeviceRows, HostRows


class UnitLaunches:
    """Works out what each unit's gradient is multiplied with."""

    def __init__(self, bucket: Bucket) -> None:
        self.kind = kind = bucket.kind
        counts = np.array([shape[0] if len(shape) > 1 else min(1, shape.numel()) for shape in bucket.shapes], np.int64)
        width = np.array(list(map(real_numel, bucket.params)), np.int64) // np.maximum(counts, 1)
        counts = np.where(width > 0, counts, 0)
        per_unit = -(-width // UNIT_RUN)
        runs = counts * per_unit
        first_unit, first_run = np.cumsum(counts) - counts, np.cumsum(runs) - runs
        self._most_runs = int(per_unit.max())
        self._layout = upload(kind.device, np.stack([first_unit, np.maximum(width, 1), first_run], axis=1))
        tensors = np.arange(len(counts), dtype=np.int32)
        self._unit_tensor = upload(kind.device, np.repeat(tensors, counts))
        self._run_tensor = upload(kind.device, np.repeat(tensors, runs))
        self._run_index = upload(kind.device, (np.arange(runs.sum()) - np.repeat(first_run, runs)).astype(np.int32))
        n_runs, n_units = max(int(runs.sum()), 1), max(int(counts.sum()), 1)
        self._partials = torch.zeros(2, n_runs, dtype=torch.float64, device=kind.device)
        self._units = torch.ones(n_units, dtype=compute_dtype(kind.dtype), device=kind.device)

    def run(self, addresses: Tensor, rows: HostRows | DeviceRows, signal: Tensor) -> dict[str, Any]:
        """The arguments of kernels that clip by units."""
        found = {"units": self._units, "unit_layout": self._layout}
        if len(self._run_tensor) == 0:
            return found
        kind = self.kind
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
            **measure_units_constants((kind.dtype, kind.grad_dtype)),
        )
        launch(
            units.finish_units,
            -(-len(self._units) // FINISH_UNITS_BLOCK),
            **shared,
            unit_tensor=self._unit_tensor,
            rows=rows.rows,
            tensor_row=rows.tensor_row,
            signal=signal,
            units=self._units,
            n_units=len(self._units),
            most_runs=self._most_runs,
            **finish_units_constants(kind.variant, kind.dtype),
        )
        return found
