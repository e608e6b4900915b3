"""What the foundation must reach, against ``torch.optim`` on the same tensors, in one run.

``python -m benchmarks.foundation`` prints the tables; ``--out FILE`` writes every figure as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

import torchopt_notes
from benchmarks.timing import interleave, ratio, summary
from torchopt_notes import testing

LARGE = 20_000_000
SMALL = (2_000, 1_000)
CASES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "AdamW": (torchopt_notes.AdamW, torch.optim.AdamW, {}),
    "SGD+momentum": (torchopt_notes.SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}),
}


def make(shapes: Iterable[int]) -> list[torch.nn.Parameter]:
    """Parameters with gradients. Not zeros: those can be faster."""
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def against_torch(case: str, sizes: list[int], backend: str, rounds: int) -> dict[str, Any]:
    """One optimizer on one list of tensors: ours against torch's fused and default forms."""
    ours, theirs, kwargs = CASES[case]
    contestants = {
        "ours": ours(make(sizes), backend=backend, **kwargs),
        "fused": theirs(make(sizes), fused=True, **kwargs),
        "default": theirs(make(sizes), **kwargs),
    }
    seconds = interleave({name: optimizer.step for name, optimizer in contestants.items()}, rounds)
    return {
        "case": case,
        "tensors": len(sizes),
        "elements": sum(sizes),
        "backend": contestants["ours"].explain()[0].backend,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "raw": seconds,
        "speed against fused": ratio(seconds, "fused", "ours"),
        "speed against default": ratio(seconds, "default", "ours"),
    }


def host_time(tensors: int, rounds: int) -> dict[str, float]:
    """Host seconds per tensor of a Triton step whose launches do nothing; run under TRITON_INTERPRET=1."""
    from torchopt_notes.engine import fused, rows

    fused.launch = rows.launch = lambda *_, **__: None  # type: ignore[assignment]
    params = make([100] * tensors)
    optimizer = torchopt_notes.AdamW(params, backend="triton")

    def moving() -> None:
        for param in params:
            param.grad = torch.empty(100)
        start = time.perf_counter()
        optimizer.step()
        moved.append(time.perf_counter() - start)

    moved: list[float] = []
    steady = interleave({"steady": optimizer.step}, rounds)["steady"]
    for _ in range(rounds):
        moving()
    return {
        "tensors": tensors,
        "steady": summary(steady)["median"] / tensors,
        "moving gradients": summary(moved)["median"] / tensors,
    }


def peak_memory(run: Callable[[], object]) -> int:
    """The most bytes of tensors that ``run`` held at once, beyond what was there before."""
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    held = most = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def memory(backend: str, case: str, elements: int, dtype: torch.dtype = torch.float32) -> float:
    """Peak extra memory of a steady step of one of the parity cases, in copies of its largest tensor."""
    found = next(entry for entry in testing.CASES if entry.name == case)
    params = [torch.nn.Parameter(torch.randn(size, dtype=dtype)) for size in (elements, elements // 2)]
    for param in params:
        param.grad = torch.randn_like(param)
    optimizer = found.optimizer(params, backend=backend, **found.kwargs)
    for _ in range(2):
        optimizer.step()
    return peak_memory(optimizer.step) / (dtype.itemsize * elements)


def memory_table() -> dict[str, float]:
    """The peaks of every parity case, reduced to what differs."""
    names = [case.name for case in testing.CASES]
    worst = max(names, key=lambda name: memory("eager", name, 100_000))
    table = {
        f"{name}, {backend}": memory(backend, name, 1_000_000)
        for name in ("adamw", "sgd-momentum")
        for backend in ("eager", "compiled")
    }
    table |= {
        f"{name}, triton": interpreted(f"memory('triton', {name!r}, 20_000)") for name in ("adamw", "sgd-momentum")
    }
    table[f"{worst}, eager: the most of all cases"] = memory("eager", worst, 1_000_000)
    table["most of all cases, compiled"] = max(memory("compiled", name, 100_000) for name in names)
    table["adamw, eager, bf16"] = memory("eager", "adamw", 1_000_000, torch.bfloat16)
    return table


def break_even(rounds: int) -> list[dict[str, float]]:
    """When compiling pays: seconds a step saves by size, and the steps after which a cold compilation is paid for."""
    source = (
        "import time, torch, torchopt_notes\n"
        "p = torch.nn.Parameter(torch.randn(10_000)); p.grad = torch.randn(10_000)\n"
        "o = torchopt_notes.AdamW([p], backend='compiled'); t = time.perf_counter(); o.step()\n"
        "print(time.perf_counter() - t)\n"
    )
    cold_cache = {**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    first = subprocess.run([sys.executable, "-c", source], env=cold_cache, capture_output=True, text=True, check=True)
    found = []
    for tensors, elements in ((10, 10**5), (10, 10**6), (10, 2 * 10**6), (2000, 2 * 10**6), (10, 10**7), (1, 10**7)):
        sizes = [elements // tensors] * tensors
        steps = {name: torchopt_notes.AdamW(make(sizes), backend=name).step for name in ("eager", "compiled")}
        seconds = interleave(steps, rounds)
        eager, compiled = (summary(seconds[name])["median"] for name in ("eager", "compiled"))
        found.append(
            {
                "tensors": tensors,
                "elements": elements,
                "eager": eager,
                "compiled": compiled,
                "compilation": float(first.stdout),
                "steps to pay": float(first.stdout) / (eager - compiled) if eager > compiled else float("inf"),
            }
        )
    return found


def staging(rounds: int) -> list[dict[str, float]]:
    """Seconds per tensor of the compiled backend, by size: side by side in a staging area, and one call each."""
    from torchopt_notes.engine import compiled

    threshold = compiled.STAGE_BELOW
    found = []
    for elements in (2_048, 8_192, 16_384, 32_768):
        tensors = 2_000_000 // elements
        steps = {}
        for name, below in (("own call", 0), ("staged", elements + 1)):
            compiled.STAGE_BELOW = below
            optimizer = torchopt_notes.AdamW(make([elements] * tensors), backend="compiled")
            optimizer.step()  # decides who is staged
            steps[name] = optimizer.step
        seconds = interleave(steps, rounds)
        found.append({"elements": elements, **{name: summary(seconds[name])["median"] / tensors for name in steps}})
    compiled.STAGE_BELOW = threshold
    return found


def show(results: dict[str, Any]) -> None:
    """The tables."""
    print(f"{results['machine']['cpu']}, {results['machine']['threads']} threads, torch {torch.__version__}\n")
    print(f"{'case':30}{'backend':10}{'ours ms':>9}{'fused ms':>10}{'default ms':>12}{'/ fused':>9}{'/ default':>11}")
    for row in results["against torch"]:
        label = f"{row['case']}, {row['tensors']:,} x {row['elements'] // row['tensors']:,}"
        ours, fused, default = (row["seconds"][name]["median"] * 1e3 for name in ("ours", "fused", "default"))
        print(
            f"{label:30}{row['backend']:10}{ours:9.2f}{fused:10.2f}{default:12.2f}"
            f"{row['speed against fused']:8.2f}x{row['speed against default']:10.1f}x"
        )
    host = results["host time"]
    print(f"\nTriton step on the host, launch stubbed out, {host['tensors']:,} tensors:")
    print(f"  {host['steady'] * 1e6:.2f} µs per tensor, {host['moving gradients'] * 1e6:.2f} with moving gradients")
    print("\nPeak extra memory of a step, in copies of the largest tensor:")
    for name, value in results["memory"].items():
        print(f"  {name:46}{value:.2f}")
    print("\nWhen compiling pays (AdamW):")
    for row in results["break-even"]:
        print(
            f"  {row['tensors']:>5,} x {row['elements'] // row['tensors']:>10,}: eager {row['eager'] * 1e3:6.2f} ms, "
            f"compiled {row['compiled'] * 1e3:5.2f} ms; a first compilation of {row['compilation']:.1f} s is paid for "
            f"after {row['steps to pay']:,.0f} steps"
        )
    print("\nSmall tensors on the compiled backend (AdamW), per tensor:")
    for row in results["staging"]:
        staged, own = row["staged"] * 1e6, row["own call"] * 1e6
        print(f"  {row['elements']:>7,} elements: staged {staged:5.1f} µs, own call {own:5.1f} µs")


def cpu_name() -> str:
    """The processor's name, as the kernel gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def interpreted(function: str) -> Any:
    """The result of a call in this module, made in a process where kernels run interpreted."""
    source = f"import json\nfrom benchmarks import foundation\nprint(json.dumps(foundation.{function}))"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", source]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foundation", description=__doc__)
    parser.add_argument("--out", type=Path, help="write every figure to this JSON file")
    parser.add_argument("--rounds", type=int, default=41, help="timed steps per contestant (default: %(default)s)")
    arguments = parser.parse_args()
    small = [SMALL[1]] * SMALL[0]
    results: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "threads": torch.get_num_threads(), "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchopt_notes": torchopt_notes.__version__},
        "against torch": [
            against_torch(case, sizes, backend, arguments.rounds)
            for case in CASES
            for sizes, backend in (([LARGE], "compiled"), (small, "auto"))
        ],
        "host time": interpreted(f"host_time(1000, {5 * arguments.rounds})"),
        "memory": memory_table(),
        "break-even": break_even(arguments.rounds // 2),
        "staging": staging(arguments.rounds // 2),
    }
    show(results)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
