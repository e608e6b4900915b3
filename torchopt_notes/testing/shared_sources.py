"""What ahead-of-time compilation compiles besides the rules: kernels that look at the gradients of all optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import torch

from ..engine.layout import compute_dtype
from ..engine.rule import Transform
from ..engine.scalars import row_length
from ..optim.adam import AdamW
from .source import Source

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
ORDERS = (1.0, 2.0, 3.0, inf)


TABLE = {"addresses": "*i64", "numels": "*i64", "chunk_tensor": "*i32", "chunk_index": "*i32", "n_tensors": "i32"}


@dataclass(frozen=True)
class SharedJob:
    """One kernel to compile.

    Attributes:
        rule: what the table calls it.
        kernel: ``sum``, ``decide``, ``units`` and ``finish units`` of the optimizers' step; ``decide``, ``scale``,
            ``clamp`` and ``scale units`` of the free functions.
        order: the p of the norm.
    """

    rule: str
    kernel: str
    dtype: str
    target: str
    order: float = 2.0


def shared_jobs(targets: Sequence[str], dtypes: Sequence[str]) -> Iterator[SharedJob]:
    """Every kernel in every dtype, for every target."""
    for target in targets:
        for dtype in (dtype for dtype in dtypes if dtype in DTYPES):
            for order in ORDERS:
                yield SharedJob(f"norm {order:g}", "sum", dtype, target, order)
                if dtype in ("fp32", "fp64"):
                    yield SharedJob(f"norm {order:g}", "decide", dtype, target, order)
            yield SharedJob("adaptive_clip", "units", dtype, target)
            yield SharedJob("adaptive_clip", "finish units", dtype, target)
            yield SharedJob("clip_grad_norm_", "decide", dtype, target)
            yield SharedJob("clip_grads_with_norm_", "scale", dtype, target)
            yield SharedJob("clip_grad_value_", "clamp", dtype, target)
            yield SharedJob("adaptive_clip_grad_", "scale units", dtype, target)


def shared_source(job: SharedJob) -> Source:
    """What to compile for ``job``."""
    if job.rule in ("clip_grad_norm_", "clip_grad_value_", "adaptive_clip_grad_"):
        return _free_function(job)
    if job.kernel == "decide":
        return _decide(job)
    if job.rule == "adaptive_clip":
        return _units(job)
    from ..engine.norm_launches import NORM_BLOCK, scale_constants, sum_constants
    from ..kernels import norms

    dtype = DTYPES[job.dtype]
    signature = TABLE | {"slot": "i32"}
    if job.kernel == "scale":
        constants = scale_constants(dtype, aligned=True)
        signature |= {"signal": "*fp64"} | dict.fromkeys(constants, "constexpr")
        return Source(norms.scale_bucket, signature, constants, dtype.itemsize, dtype.itemsize, NORM_BLOCK)
    constants = sum_constants(dtype, job.order, aligned=True)
    signature |= {"partials": "*fp64", "first_partial": "i32", "n_partials": "i32"}
    signature |= dict.fromkeys(constants, "constexpr")
    return Source(norms.sum_bucket, signature, constants, dtype.itemsize, 0, NORM_BLOCK)


def _decide(job: SharedJob) -> Source:
    from ..engine.norm_launches import decision_constants
    from ..kernels import norms

    constants = decision_constants(
        job.order, DTYPES[job.dtype], measured=True, limited=True, unscaled=True, found=True, check=True
    )
    signature = {
        "partials": "*fp64",
        "limits": "*fp64",
        "grad_scale": "*fp32",
        "found_inf": "*fp32",
        "signal": "*fp64",
        "skipped": "*i64",
        "n_partials": "i32",
    } | dict.fromkeys(constants, "constexpr")
    return Source(norms.decide, signature, constants)


def _free_function(job: SharedJob) -> Source:
    from ..clip.launches import clamp_constants, decide_constants
    from ..clip.unit_launches import scale_units_constants
    from ..engine.norm_launches import NORM_BLOCK
    from ..kernels import clip

    dtype = DTYPES[job.dtype]
    if job.kernel == "decide":
        constants = decide_constants(dtype, job.order, measured=True, limited=True)
        pointers = {"partials": "*fp64", "norm": f"*{job.dtype}", "limit": "*fp64", "signal": "*fp64"}
        signature = pointers | {"n_partials": "i32"} | dict.fromkeys(constants, "constexpr")
        return Source(clip.decide, signature, constants)
    if job.kernel == "clamp":
        constants = clamp_constants(dtype, aligned=True)
        signature = TABLE | {"limit": "*fp64"} | dict.fromkeys(constants, "constexpr")
        return Source(clip.clamp_bucket, signature, constants, dtype.itemsize, dtype.itemsize, NORM_BLOCK)
    constants = scale_units_constants(dtype, aligned=True)
    signature = TABLE | {"units": _floats(dtype), "unit_layout": "*i64"} | dict.fromkeys(constants, "constexpr")
    return Source(clip.scale_units, signature, constants, dtype.itemsize, dtype.itemsize)


def _floats(dtype: torch.dtype) -> str:
    return "*fp64" if compute_dtype(dtype) == torch.float64 else "*fp32"


def _units(job: SharedJob) -> Source:
    from ..engine.launch import finish_units_constants, measure_units_constants
    from ..kernels import units

    dtype = DTYPES[job.dtype]
    signature = {"unit_layout": "*i64", "partials": "*fp64", "n_partials": "i32"}
    if job.kernel == "units":
        constants = measure_units_constants((dtype, dtype))
        signature |= {"addresses": "*i64", "chunk_tensor": "*i32", "chunk_index": "*i32", "n_tensors": "i32"}
        return Source(units.measure_units, signature | dict.fromkeys(constants, "constexpr"), constants)
    constants = finish_units_constants(Transform(scaled=True, adaptive=True), dtype, row_length(AdamW.rule))
    floats = _floats(dtype)
    signature |= {"unit_tensor": "*i32", "rows": floats, "tensor_row": "*i32", "signal": "*fp64", "units": floats}
    signature |= {"n_units": "i32", "most_runs": "i32"} | dict.fromkeys(constants, "constexpr")
    return Source(units.finish_units, signature, constants)
