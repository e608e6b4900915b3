"""Compiles every kernel ahead of time, for GPUs that are not here, and checks the machine code.

``python -m torchopt_notes.testing.codegen`` prints a row per rule, dtype and target, and exits with 1 when a row breaks
the rule: on CUDA targets every access of the main path is 128 bits wide, and nothing spills or lives in local memory;
on AMD targets nothing spills.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..engine.rule import Variant
from .cases import CASES

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
DTYPES = {
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "fp16": (torch.float16, torch.float16),
    "fp64": (torch.float64, torch.float64),
    "bf16+fp32 states": (torch.bfloat16, torch.float32),
}
"""Of parameter and gradient, and of the states."""

_WIDE = r"\.v(?:4\.b32|4\.f32|2\.b64|2\.f64|8\.b16)\b"


@dataclass(frozen=True)
class Job:
    """One kernel to compile."""

    rule: str
    variant: Variant
    n_states: int
    dtype: str
    target: str
    kernel: str = "update"


@dataclass(frozen=True)
class Result:
    """What the compiler made of a job. ``broken`` says how it breaks the rule, or is empty."""

    job: Job
    registers: int
    stack: int
    spills: int
    wide_loads: int
    wide_stores: int
    expected_loads: int
    expected_stores: int
    bytes_per_element: float
    broken: str


def jobs(targets: Sequence[str], dtypes: Sequence[str]) -> Iterator[Job]:
    """Every rule with its flags, in every dtype, and every rule's scalars, for every target."""
    seen: set[tuple[object, str]] = set()
    for case in CASES:
        optimizer = case.optimizer([torch.nn.Parameter(torch.zeros(1))], backend="eager", **case.kwargs)
        group = optimizer.param_groups[0]
        variant, n_states = optimizer.variant(group), len(optimizer.state_names(group, group["params"][0]))
        update_key = (variant.rule.eager, variant.flags, variant.maximize, variant.decay)
        for target in targets:
            if (update_key, target) not in seen:
                seen.add((update_key, target))
                for dtype in dtypes if n_states else [dtype for dtype in dtypes if "states" not in dtype]:
                    yield Job(case.name, variant, n_states, dtype, target)
            scalars_key = (variant.rule.kernel, variant.decay == "decoupled")
            if (scalars_key, target) not in seen:
                seen.add((scalars_key, target))
                yield Job(case.name, variant, n_states, "fp64", target, kernel="scalars")


def compile_job(job: Job) -> Result:
    """Compiles one kernel and reads the compiler's report and the code."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from ..engine.launch import NUM_WARPS
    from ..kernels import skeleton

    source, loads, stores, size = _update_source(job) if job.kernel == "update" else _scalars_source(job)
    kernel = skeleton.update_bucket if job.kernel == "update" else skeleton.refresh_rows
    compiled = compile(
        ASTSource(fn=kernel, **source), target=GPUTarget(*TARGETS[job.target]), options={"num_warps": NUM_WARPS}
    )
    if job.target.startswith("sm_"):
        registers, stack, local = _cubin_resources(compiled.asm["cubin"])
        code = compiled.asm["ptx"]
        wide_loads = len(re.findall(rf"ld\.global{_WIDE}", code))
        wide_stores = len(re.findall(rf"st\.global{_WIDE}", code))
        broken = [f"stack {stack}"] * (stack > 0) + [f"local memory {local}"] * (local > 0)
        if job.kernel == "update":
            broken += [f"{wide_loads} 128-bit loads, expected {loads}"] * (wide_loads != loads)
            broken += [f"{wide_stores} 128-bit stores, expected {stores}"] * (wide_stores != stores)
        return Result(job, registers, stack, local, wide_loads, wide_stores, loads, stores, size, "; ".join(broken))
    text = compiled.asm["amdgcn"]
    spills = sum(int(n) for n in re.findall(r"\.[sv]gpr_spill_count:\s*(\d+)", text))
    registers = int(re.findall(r"\.vgpr_count:\s*(\d+)", text)[0])
    stack = int(re.findall(r"\.private_segment_fixed_size:\s*(\d+)", text)[0])
    broken = [f"{spills} spills"] * (spills > 0) + [f"stack {stack}"] * (stack > 0)
    return Result(job, registers, stack, spills, 0, 0, 0, 0, size, "; ".join(broken))


def _update_source(job: Job) -> tuple[dict[str, Any], int, int, float]:
    """What to compile, and the loads and stores per thread and bytes per element that it should come to."""
    from ..engine.launch import NUM_WARPS, update_constants
    from ..engine.launch_table import BLOCK
    from ..kernels.skeleton import update_bucket

    param, state = DTYPES[job.dtype]
    dtypes = (param, param, *[state] * job.n_states)
    constants = update_constants(job.variant, dtypes, aligned=True)
    rows = "*fp64" if job.dtype == "fp64" else "*fp32"
    signature = {
        "addresses": "*i64",
        "numels": "*i64",
        "chunk_tensor": "*i32",
        "chunk_index": "*i32",
        "rows": rows,
        "tensor_row": "*i32",
        "n_tensors": "i32",
    } | dict.fromkeys(constants, "constexpr")
    per_thread = BLOCK // (NUM_WARPS * 32)
    loaded = sum(dtype.itemsize for dtype in dtypes)
    stored = loaded - param.itemsize  # the gradient is only read
    source = {"signature": signature, "constexprs": _as_indexed(update_bucket, constants)}
    return source, per_thread * loaded // 16, per_thread * stored // 16, float(loaded + stored)


def _scalars_source(job: Job) -> tuple[dict[str, Any], int, int, float]:
    from ..engine.launch import refresh_constants
    from ..kernels.skeleton import refresh_rows

    # lr and weight decay in place of the step and what is carried.
    hyper = job.variant.rule.scalars.__code__.co_argcount + 1 - len(job.variant.rule.carried)
    constants = refresh_constants(job.variant, torch.float32, n_hyper=hyper)
    signature = {
        "addresses": "*i64",
        "hyper": "*fp64",
        "tensor_group": "*i32",
        "rows": "*fp32",
        "n_tensors": "i32",
    } | dict.fromkeys(constants, "constexpr")
    return {"signature": signature, "constexprs": _as_indexed(refresh_rows, constants)}, 0, 0, 0.0


def _as_indexed(kernel: Any, constants: dict[str, Any]) -> dict[Any, Any]:
    return {(kernel.arg_names.index(name),): value for name, value in constants.items()}


def _cubin_resources(cubin: bytes) -> tuple[int, int, int]:
    """Registers, stack bytes and local-memory bytes of a cubin, as NVIDIA's own tool reports them."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [str(knobs.nvidia.cuobjdump.path), "--dump-resource-usage", str(path)]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report)
    if found is None:
        raise RuntimeError(f"cuobjdump reported no resources:\n{report}")
    registers, stack, local = map(int, found.groups())
    return registers, stack, local


def show(results: Sequence[Result]) -> str:
    """The table, and a line that counts what broke the rule."""
    header = (
        "rule",
        "kernel",
        "dtype",
        "target",
        "registers",
        "stack",
        "spills",
        "128-bit loads",
        "stores",
        "bytes",
        "",
    )
    rows = [
        (
            r.job.rule,
            r.job.kernel,
            r.job.dtype,
            r.job.target,
            str(r.registers),
            str(r.stack),
            str(r.spills),
            f"{r.wide_loads}/{r.expected_loads}" if r.expected_loads else "-",
            f"{r.wide_stores}/{r.expected_stores}" if r.expected_stores else "-",
            f"{r.bytes_per_element:g}" if r.bytes_per_element else "-",
            f"BROKEN: {r.broken}" if r.broken else "ok",
        )
        for r in results
    ]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    broken = sum(bool(r.broken) for r in results)
    return "\n".join([*lines, f"{len(results)} kernels compiled, {broken} broken"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m torchopt_notes.testing.codegen", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    chosen = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("kernels cannot be compiled in a process with TRITON_INTERPRET=1; unset it", file=sys.stderr)
        return 2
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(compile_job, jobs(chosen.targets, chosen.dtypes), chunksize=4))
    print(show(results))
    return int(any(result.broken for result in results))


if __name__ == "__main__":
    sys.exit(main())
