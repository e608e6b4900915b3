"""How kernels are started, and their compile-time arguments: shared by the backend and by ahead-of-time compilation."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
import triton.language as tl

from .. import kernels
from ..kernels import skeleton
from .launch_table import BLOCK
from .layout import compute_dtype
from .rule import Rule, Variant

TRITON_DTYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
    torch.complex64: tl.float32,
    torch.complex128: tl.float64,
}
DECAYS = {"none": skeleton.NO_DECAY, "coupled": skeleton.COUPLED, "decoupled": skeleton.DECOUPLED}
NUM_WARPS = 4
REFRESH_BLOCK = 128


def launch(kernel: Any, programs: int, **arguments: Any) -> None:
    """Starts ``kernel`` on the current stream of the current device. The one place where kernels are launched."""
    kernel[(programs,)](**arguments)


def rule_kernel(rule: Rule) -> Any:
    """The module that spells ``rule`` in Triton, as ``update`` and ``scalars``."""
    return importlib.import_module(f"{kernels.__name__}.{rule.kernel}")


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
        "ROW_LENGTH": 1 + len(variant.rule.scalar_names),
        "MAXIMIZE": variant.maximize,
        "DECAY": DECAYS[variant.decay],
        "ALIGNED": aligned,
        "BLOCK": BLOCK,
    }


def refresh_constants(variant: Variant, step_dtype: torch.dtype, *, n_hyper: int) -> dict[str, Any]:
    """The compile-time arguments of ``skeleton.refresh_rows``, for counts of this dtype and so many hyperparameters."""
    return {
        "SCALARS": rule_kernel(variant.rule).scalars,
        "STEP_DTYPE": TRITON_DTYPES[step_dtype],
        "N_HYPER": n_hyper,
        "N_CARRIED": len(variant.rule.carried),
        "DECAY": DECAYS[variant.decay],
        "BLOCK": REFRESH_BLOCK,
    }
