"""How kernels are started, and their compile-time arguments: shared by the backend and by ahead-of-time compilation."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
import triton.language as tl

from .. import kernels
from ..kernels import layerwise, skeleton
from .launch_table import BLOCK
from .layout import compute_dtype
from .rule import Rule, Transform, Variant
from .scalars import row_length

TRITON_DTYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
    torch.complex64: tl.float32,
    torch.complex128: tl.float64,
}
DECAYS = {
    "none": skeleton.NO_DECAY.value,
    "coupled": skeleton.COUPLED.value,
    "decoupled": skeleton.DECOUPLED.value,
    "cautious": skeleton.CAUTIOUS.value,
}
NUM_WARPS = 4
ON_CUDA = {"num_warps": NUM_WARPS, "maxnreg": 255}
"""How kernels are compiled. All registers are allowed by name: left to itself, the assembler keeps to a round number of
them for the sake of occupancy, and spills one or two in kernels that move memory and wait for it anyway."""

ON_HIP = {"num_warps": NUM_WARPS}
REFRESH_BLOCK = 128
FINISH_BLOCK = 1024
FOLD_BLOCK = 128
DECIDE_BLOCK = 2048
UNIT_RUN, UNIT_BLOCK = 8192, 1024
"""Elements of a unit that one program sums up, and how many at a time."""

FINISH_UNITS_BLOCK = 128
TILE_ROWS, TILE_COLUMNS = 32, 128
"""Of the tiles that matrices are cut into: 32 elements per thread, and partial sums of 4 % of the matrix."""


def launch(kernel: Any, programs: int, **arguments: Any) -> None:
    """Starts ``kernel`` on the current stream of the current device. The one place where kernels are launched."""
    kernel[(programs,)](**arguments, **(ON_CUDA if torch.version.hip is None else ON_HIP))


def rule_kernel(rule: Rule) -> Any:
    """The module that spells ``rule`` in Triton, as ``update`` and ``scalars``."""
    return importlib.import_module(f"{kernels.__name__}.{rule.kernel}")


def transform_constant(transform: Transform) -> tuple[Any, ...]:
    """The transform's choices as kernels take them; ``kernels/skeleton.py`` says where which of them is."""
    return tuple(DECAYS[choice] if isinstance(choice, str) else choice for choice in transform)


def update_constants(variant: Variant, dtypes: Sequence[torch.dtype], *, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``skeleton.update_bucket``.

    Args:
        variant: the code to run.
        dtypes: of the parameter, the gradient and each state.
        aligned: whether every address is a multiple of 16 bytes.
    """
    return {
        "UPDATE": rule_kernel(variant.rule).update,
        "FLAGS": tuple(variant.flags),
        "DTYPES": tuple(TRITON_DTYPES[dtype] for dtype in dtypes),
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtypes[0])],
        "ROW_LENGTH": row_length(variant.rule),
        "TRANSFORM": transform_constant(variant.transform),
        "ALIGNED": aligned,
        "BLOCK": BLOCK,
    }


def measure_constants(variant: Variant, dtypes: Sequence[torch.dtype], *, early: bool, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``layerwise.measure_bucket``; ``dtypes`` and ``aligned`` as for the update.

    Args:
        early: whether the states are stored before the norms are known.
    """
    module = rule_kernel(variant.rule)
    shared = update_constants(variant, dtypes, aligned=aligned)
    del shared["UPDATE"]
    return {
        **shared,
        "ADVANCE": getattr(module, "advance", layerwise.keep),
        "MEASURE": module.measure,
        "EARLY": early,
        "FACTORED": variant.rule.span == "matrix",
    }


def apply_constants(variant: Variant, dtypes: Sequence[torch.dtype], *, early: bool, aligned: bool) -> dict[str, Any]:
    """The compile-time arguments of ``layerwise.apply_bucket``, as those of ``measure_bucket``."""
    assert variant.rule.norms is not None, "only layer-wise rules are applied after being measured"
    return {
        **update_constants(variant, dtypes, aligned=aligned),
        "ADVANCE": getattr(rule_kernel(variant.rule), "advance", layerwise.keep),
        "N_NUMBERS": variant.rule.norms.numbers,
        "EARLY": early,
        "FACTORED": variant.rule.span == "matrix",
    }


def finish_constants(variant: Variant, scalar_states: Sequence[tuple[int, torch.dtype]]) -> dict[str, Any]:
    """The compile-time arguments of ``layerwise.finish_bucket``.

    Args:
        scalar_states: slot and dtype of the 0-d states.
    """
    assert variant.rule.norms is not None, "only layer-wise rules are finished"
    return {
        "FINISH": rule_kernel(variant.rule).finish,
        "FLAGS": tuple(variant.flags),
        "TRANSFORM": transform_constant(variant.transform),
        "SLOTS": tuple(slot for slot, _ in scalar_states),
        "SLOT_DTYPES": tuple(TRITON_DTYPES[dtype] for _, dtype in scalar_states),
        "N_SUMS": variant.rule.norms.sums,
        "ROW_LENGTH": row_length(variant.rule),
        "CHUNK": BLOCK,
        "BLOCK": FINISH_BLOCK,
    }


def factor_constants(variant: Variant, dtypes: Sequence[torch.dtype]) -> dict[str, Any]:
    """The compile-time arguments of ``factored.factor_bucket``, for a parameter and a gradient of these dtypes."""
    return {
        "DTYPE": tuple(TRITON_DTYPES[dtype] for dtype in dtypes[:2]),
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtypes[0])],
        "ROW_LENGTH": row_length(variant.rule),
        "TRANSFORM": transform_constant(variant.transform),
        "TILE_ROWS": TILE_ROWS,
        "TILE_COLUMNS": TILE_COLUMNS,
    }


def fold_constants(variant: Variant, dtypes: Sequence[torch.dtype]) -> dict[str, Any]:
    """The compile-time arguments of ``factored.fold_bucket``, for a parameter and two states of these dtypes."""
    return {
        "STATE_DTYPES": tuple(TRITON_DTYPES[dtype] for dtype in dtypes[1:]),
        "TRANSFORM": transform_constant(variant.transform),
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtypes[0])],
        "ROW_LENGTH": row_length(variant.rule),
        "BLOCK": FOLD_BLOCK,
    }


def refresh_constants(variant: Variant, step_dtype: torch.dtype, *, n_hyper: int) -> dict[str, Any]:
    """The compile-time arguments of ``skeleton.refresh_rows``, for counts of this dtype and so many hyperparameters."""
    return {
        "SCALARS": rule_kernel(variant.rule).scalars,
        "STEP_DTYPE": TRITON_DTYPES[step_dtype],
        "N_HYPER": n_hyper,
        "N_CARRIED": len(variant.rule.carried),
        "TRANSFORM": transform_constant(variant.transform),
        "BLOCK": REFRESH_BLOCK,
    }


def measure_units_constants(dtypes: Sequence[torch.dtype]) -> dict[str, Any]:
    """The compile-time arguments of ``units.measure_units``, for a parameter and a gradient of these dtypes."""
    return {"DTYPES": tuple(TRITON_DTYPES[dtype] for dtype in dtypes), "RUN": UNIT_RUN, "BLOCK": UNIT_BLOCK}


def finish_units_constants(transform: Transform, dtype: torch.dtype, row_length: int) -> dict[str, Any]:
    """The compile-time arguments of ``units.finish_units``, for parameters of this dtype."""
    return {
        "COMPUTE": TRITON_DTYPES[compute_dtype(dtype)],
        "ROW_LENGTH": row_length,
        "TRANSFORM": transform_constant(transform),
        "RUN": UNIT_RUN,
        "BLOCK": FINISH_UNITS_BLOCK,
    }
