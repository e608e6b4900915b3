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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from .kernel_sources import DTYPES, Job, jobs, source
from .shared_sources import SharedJob, shared_jobs, shared_source

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
_WIDE = r"\.v(?:4\.b32|4\.f32|2\.b64|2\.f64|8\.b16)\b"


@dataclass(frozen=True)
class Result:
    """What the compiler made of a job. ``broken`` says how it breaks the rule, or is empty."""

    job: Job | SharedJob
    registers: int
    stack: int
    spills: int
    wide_loads: int
    wide_stores: int
    expected_loads: int | None
    expected_stores: int | None
    bytes_per_element: float
    broken: str


def compile_job(job: Job | SharedJob) -> Result:
    """Compiles one kernel and reads the compiler's report and the code."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from ..engine.launch import NUM_WARPS, ON_CUDA, ON_HIP

    wanted = source(job) if isinstance(job, Job) else shared_source(job)
    arguments = ASTSource(fn=wanted.kernel, signature=wanted.signature, constexprs=wanted.indexed_constants)
    options = ON_CUDA if job.target.startswith("sm_") else ON_HIP
    compiled = compile(arguments, target=GPUTarget(*TARGETS[job.target]), options=options)
    # Bytes per element to 128-bit accesses per thread.
    per_thread = wanted.block // (NUM_WARPS * 32) / 16
    loads, stores = (None if size is None else int(size * per_thread) for size in (wanted.loads, wanted.stores))
    size = float((wanted.loads or 0) + (wanted.stores or 0))
    if job.target.startswith("sm_"):
        registers, stack, local = _cubin_resources(compiled.asm["cubin"])
        code = compiled.asm["ptx"]
        wide_loads = len(re.findall(rf"ld\.global{_WIDE}", code))
        wide_stores = len(re.findall(rf"st\.global{_WIDE}", code))
        broken = [f"stack {stack}"] * (stack > 0) + [f"local memory {local}"] * (local > 0)
        if loads is not None:
            broken += [f"{wide_loads} 128-bit loads, expected {loads}"] * (wide_loads != loads)
            broken += [f"{wide_stores} 128-bit stores, expected {stores}"] * (wide_stores != stores)
        return Result(job, registers, stack, local, wide_loads, wide_stores, loads, stores, size, "; ".join(broken))
    text = compiled.asm["amdgcn"]
    spills = sum(int(n) for n in re.findall(r"\.[sv]gpr_spill_count:\s*(\d+)", text))
    registers = int(re.findall(r"\.vgpr_count:\s*(\d+)", text)[0])
    stack = int(re.findall(r"\.private_segment_fixed_size:\s*(\d+)", text)[0])
    broken = [f"{spills} spills"] * (spills > 0) + [f"stack {stack}"] * (stack > 0)
    return Result(job, registers, stack, spills, 0, 0, None, None, size, "; ".join(broken))


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
            "-" if r.expected_loads is None else f"{r.wide_loads}/{r.expected_loads}",
            "-" if r.expected_stores is None else f"{r.wide_stores}/{r.expected_stores}",
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
        every = chain(shared_jobs(chosen.targets, chosen.dtypes), jobs(chosen.targets, chosen.dtypes))
        results = list(pool.map(compile_job, every, chunksize=4))
    print(show(results))
    return int(any(result.broken for result in results))


if __name__ == "__main__":
    sys.exit(main())
