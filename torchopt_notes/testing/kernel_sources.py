"""What ahead-of-time compilation compiles: every kernel of every rule, and what its machine code must come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from ..engine.layout import compute_dtype
from ..engine.rule import Transform, Variant
from ..engine.scalars import N_NUMBERS
from .cases import CASES
from .source import Source

DTYPES = {
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float16),
    "fp64": (torch.float64, torch.float64),
    "bf16+fp32 states": (torch.bfloat16, torch.float32),
}
"""Of parameter and gradient, and of the states."""


ALL_TRANSFORMS = {
    "+coupled": Transform(
        guarded=True, scaled=True, adaptive=True, clamped=True, maximize=True, decay="coupled", l1="coupled"
    ),
    "+decoupled": Transform(guarded=True, scaled=True, clamped=True, decay="cautious", l1="decoupled"),
    "+clip": Transform(scaled=True, decay="decoupled"),
}
"""What can happen around a rule, all at once; and clipping by norm alone, which is what most people use."""

SURROUNDED = ("fp32", "bf16+fp32 states")
"""Dtypes with which these are compiled: what goes around a rule is the same code for all of them."""

KERNELS = {
    "element": ("update",),
    "tensor": ("measure", "finish", "apply"),
    "matrix": ("factor", "fold", "mean", "measure", "finish", "apply"),
}


@dataclass(frozen=True)
class Job:
    """One kernel to compile: ``update`` or ``scalars``; a layer-wise rule's ``measure``, ``finish`` or ``apply``; those
    that renew means over rows and columns, ``factor``, ``fold`` and ``mean``.
    """

    rule: str
    variant: Variant
    state_names: tuple[str, ...]
    dtype: str
    target: str
    kernel: str = "update"


def jobs(targets: Sequence[str], dtypes: Sequence[str]) -> Iterator[Job]:
    """Every rule with its flags, in every dtype, and every rule's scalars, for every target."""
    seen: set[object] = set()
    for case, shape in product(CASES, ((2, 2), (2,))):
        optimizer = case.optimizer([torch.nn.Parameter(torch.zeros(shape))], backend="eager", **case.kwargs)
        group = optimizer.param_groups[0]
        (param,) = group["params"]
        own = optimizer.param_variant(optimizer.variant(group), group, param)
        names = optimizer.state_names(group, param)
        variants = {case.name: own}
        if own.rule not in seen:
            seen.add(own.rule)
            variants |= {case.name + name: own._replace(transform=t) for name, t in ALL_TRANSFORMS.items()}
        for (name, variant), target in product(variants.items(), targets):
            update_key = (variant.rule.eager, variant.flags, variant.transform, target)
            if update_key not in seen:
                seen.add(update_key)
                wanted = dtypes if variant is own else [dtype for dtype in dtypes if dtype in SURROUNDED]
                for dtype in wanted if names else [dtype for dtype in wanted if "states" not in dtype]:
                    for kernel in KERNELS[variant.rule.span]:
                        yield Job(name, variant, names, dtype, target, kernel)
            transform = variant.transform
            scalars_key = (variant.rule.kernel, transform.decay, transform.l1, transform.guarded, target)
            if scalars_key not in seen:
                seen.add(scalars_key)
                yield Job(name, variant, names, "fp64", target, "scalars")


def source(job: Job) -> Source:
    """What to compile for ``job``."""
    if job.kernel == "scalars":
        return _scalars(job)
    if job.kernel == "finish":
        return _finish(job)
    if job.kernel in ("factor", "fold", "mean"):
        return _factors(job)
    return _pass_over_chunks(job)


def _pass_over_chunks(job: Job) -> Source:
    from ..engine.launch import apply_constants, measure_constants, update_constants
    from ..kernels import layerwise, skeleton

    dtype, state = DTYPES[job.dtype]
    norms = job.variant.rule.norms
    shaped = [name for name in job.state_names if job.variant.rule.layout(name) is None]
    sizes = {"param": dtype.itemsize, "grad": dtype.itemsize} | dict.fromkeys(shaped, state.itemsize)
    dtypes = (dtype, dtype, *[state] * len(shaped))
    signature = {
        "addresses": "*i64",
        "numels": "*i64",
        "chunk_tensor": "*i32",
        "chunk_index": "*i32",
        "rows": _floats(job),
        "tensor_row": "*i32",
        "signal": "*fp64",
        "units": _floats(job),
        "unit_layout": "*i64",
        "n_tensors": "i32",
    }
    if norms is None:
        constants = update_constants(job.variant, dtypes, aligned=True)
        signature |= dict.fromkeys(constants, "constexpr")
        loads = sum(sizes.values())
        return Source(skeleton.update_bucket, signature, constants, loads, loads - sizes["grad"])
    early = norms.advances and state == compute_dtype(dtype)
    states = sum(sizes[name] for name in shaped)
    if job.kernel == "measure":
        constants = measure_constants(job.variant, dtypes, early=early, aligned=True)
        signature |= {"factors": _floats(job), "layout": "*i64"}
        signature |= {"partials": _floats(job), "first_partial": "i64", "n_partials": "i32"}
        signature |= dict.fromkeys(constants, "constexpr")
        transform = job.variant.transform
        coupled = ("param",) if "coupled" in (transform.decay, transform.l1) else ()
        read = {*norms.measured, *(shaped if early else ()), *coupled}
        stores = states if early else 0
        return Source(layerwise.measure_bucket, signature, constants, _total(sizes, read), stores)
    constants = apply_constants(job.variant, dtypes, early=early, aligned=True)
    signature |= {"factors": _floats(job), "layout": "*i64", "numbers": _floats(job)}
    signature |= dict.fromkeys(constants, "constexpr")
    read = set(norms.updated) if early or not norms.advances else set(sizes)
    stores = sizes["param"] + (0 if early else states)
    return Source(layerwise.apply_bucket, signature, constants, _total(sizes, read), stores)


def _finish(job: Job) -> Source:
    from ..engine.launch import finish_constants
    from ..kernels import layerwise

    dtype, _ = DTYPES[job.dtype]
    slots = [slot for slot, name in enumerate(job.state_names, 2) if job.variant.rule.layout(name) == "scalar"]
    constants = finish_constants(job.variant, [(slot, compute_dtype(dtype)) for slot in slots])
    signature = {
        "addresses": "*i64",
        "numels": "*i64",
        "first_chunk": "*i64",
        "rows": _floats(job),
        "tensor_row": "*i32",
        "signal": "*fp64",
        "partials": _floats(job),
        "numbers": _floats(job),
        "n_tensors": "i32",
        "n_partials": "i32",
    } | dict.fromkeys(constants, "constexpr")
    return Source(layerwise.finish_bucket, signature, constants)


def _factors(job: Job) -> Source:
    from ..engine.launch import FINISH_BLOCK, factor_constants, fold_constants
    from ..kernels import factored

    dtype, state = DTYPES[job.dtype]
    common = {"addresses": "*i64", "rows": _floats(job), "tensor_row": "*i32", "signal": "*fp64"}
    common |= {"partials": _floats(job)}
    if job.kernel == "factor":
        constants = factor_constants(job.variant, (dtype, dtype))
        tables = {"units": _floats(job), "unit_layout": "*i64"}
        tables |= {"shapes": "*i64", "tile_tensor": "*i32", "tile_index": "*i32", "n_tensors": "i32"}
        return Source(factored.factor_bucket, common | tables | dict.fromkeys(constants, "constexpr"), constants)
    if job.kernel == "mean":
        signature = {"matrices": "*i64", "factors": _floats(job), "BLOCK": "constexpr"}
        return Source(factored.mean_rows, signature, {"BLOCK": FINISH_BLOCK})
    constants = fold_constants(job.variant, (dtype, state, state))
    tables = {"vectors": "*i64", "chunk_vector": "*i32", "chunk_index": "*i32", "factors": _floats(job)}
    signature = common | tables | {"n_tensors": "i32"} | dict.fromkeys(constants, "constexpr")
    return Source(factored.fold_bucket, signature, constants)


def _scalars(job: Job) -> Source:
    from ..engine.launch import refresh_constants
    from ..kernels import skeleton

    rule = job.variant.rule
    # lr and the transform's hyperparameters in place of the step and what is carried.
    n_hyper = rule.scalars.__code__.co_argcount + N_NUMBERS - len(rule.carried)
    constants = refresh_constants(job.variant, torch.float32, n_hyper=n_hyper)
    signature = {
        "addresses": "*i64",
        "hyper": "*fp64",
        "tensor_group": "*i32",
        "signal": "*fp64",
        "rows": "*fp32",
        "n_tensors": "i32",
    } | dict.fromkeys(constants, "constexpr")
    return Source(skeleton.refresh_rows, signature, constants)


def _floats(job: Job) -> str:
    return "*fp64" if job.dtype == "fp64" else "*fp32"


def _total(sizes: dict[str, int], names: set[str]) -> int:
    return sum(size for name, size in sizes.items() if name in names)
