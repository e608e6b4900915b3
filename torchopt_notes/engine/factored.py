"""The launches that renew means over rows and columns, before a rule that uses them is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..kernels import factored
from .buckets import Kind
from .launch import (
    FINISH_BLOCK,
    FOLD_BLOCK,
    TILE_COLUMNS,
    TILE_ROWS,
    factor_constants,
    fold_constants,
    launch,
)
from .launch_table import upload
from .layout import compute_dtype

Integers = npt.NDArray[np.int64]


class Factors:
    """The numbers of a bucket's rows and columns, in compute precision.

    Attributes:
        values: all rows' numbers, then all columns', then the means over each matrix's rows.
        layout: int64 [n_tensors, 5]; see ``kernels.factored.load_factors``.
    """

    def __init__(self, kind: Kind, shapes: Sequence[torch.Size]) -> None:
        self.kind = kind
        device = kind.device
        height, width = (np.array([shape[axis] for shape in shapes], np.int64) for axis in (-2, -1))
        matrices = np.array([shape[:-2].numel() for shape in shapes], np.int64)
        n_rows, n_columns = matrices * height, matrices * width
        across, down = -(-width // TILE_COLUMNS), -(-height // TILE_ROWS)

        # Partial sums: for each tile along a row of tiles a vector of all rows' sums, and likewise for columns.
        row_partials, end = _places(n_rows * across, 0)
        column_partials, end = _places(n_columns * down, end)
        self._partials = torch.zeros(max(end, 1), dtype=compute_dtype(kind.dtype), device=device)
        first_row, end = _places(n_rows, 0)
        first_column, end = _places(n_columns, end)
        first_mean, end = _places(matrices, end)
        self.values = torch.zeros(max(end, 1), dtype=self._partials.dtype, device=device)
        self.layout = upload(device, np.stack([height, width, first_row, first_column, first_mean], axis=1))

        self._shapes = upload(device, np.stack([matrices, height, width, row_partials, column_partials], axis=1))
        self._tile_tensor, self._tile_index = _chunks(device, matrices * across * down)
        vectors = (
            np.stack([n_rows, across, width, row_partials, first_row], axis=1),
            np.stack([n_columns, down, height, column_partials, first_column], axis=1),
        )
        self._vectors = upload(device, np.concatenate(vectors))
        self._fold_vector, self._fold_index = _chunks(device, -(-np.concatenate([n_rows, n_columns]) // FOLD_BLOCK))
        self._matrices = upload(device, _matrix_table(matrices, height, first_row, first_mean))

    def run(self, shared: dict[str, Any]) -> None:
        """Renews the states and the numbers, with the arguments that all kernels of a bucket take."""
        kind = self.kind
        shared = {name: value for name, value in shared.items() if name != "numels"}
        launch(
            factored.factor_bucket,
            len(self._tile_tensor),
            **shared,
            shapes=self._shapes,
            tile_tensor=self._tile_tensor,
            tile_index=self._tile_index,
            partials=self._partials,
            **factor_constants(kind.variant, (kind.dtype, kind.grad_dtype)),
        )
        launch(
            factored.fold_bucket,
            len(self._fold_vector),
            **{name: value for name, value in shared.items() if name not in ("units", "unit_layout")},
            vectors=self._vectors,
            chunk_vector=self._fold_vector,
            chunk_index=self._fold_index,
            partials=self._partials,
            factors=self.values,
            **fold_constants(kind.variant, (kind.dtype, *kind.state_dtypes)),
        )
        launch(
            factored.mean_rows,
            len(self._matrices),
            matrices=self._matrices,
            factors=self.values,
            BLOCK=FINISH_BLOCK,
        )


def _places(sizes: Integers, first: int) -> tuple[Integers, int]:
    """Where vectors of these sizes begin when they lie one after the other from ``first`` on, and where they end."""
    ends = first + np.cumsum(sizes)
    return ends - sizes, int(ends[-1])


def _chunks(device: torch.device, counts: Integers) -> tuple[Tensor, Tensor]:
    """For each program, which of the things it serves, and which chunk of that."""
    first = np.cumsum(counts) - counts
    index = np.arange(counts.sum()) - np.repeat(first, counts)
    served = np.repeat(np.arange(len(counts)), counts)
    return upload(device, served.astype(np.int32)), upload(device, index.astype(np.int32))


def _matrix_table(matrices: Integers, height: Integers, first_row: Integers, first_mean: Integers) -> Integers:
    """For each matrix how many rows it has, where their numbers begin, and where their mean goes."""
    index = np.arange(matrices.sum()) - np.repeat(np.cumsum(matrices) - matrices, matrices)
    tall = np.repeat(height, matrices)
    begin = np.repeat(first_row, matrices) + index * tall
    return np.stack([tall, begin, np.repeat(first_mean, matrices) + index], axis=1)
