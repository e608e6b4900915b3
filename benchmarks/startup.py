"""What is paid once: importing the package, and the first step."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.processes import in_process

IMPORT = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
import torchopt_notes
named = time.perf_counter()
torchopt_notes.AdamW
result = [middle - start, named - middle, time.perf_counter() - middle]
"""

FIRST = """
import time, torch, torchopt_notes
param = torch.nn.Parameter(torch.randn(10_000))
param.grad = torch.randn(10_000)
optimizer = {construct}
step = {step}
start = time.perf_counter()
step()
result = time.perf_counter() - start
"""
STEPS = {
    "ours": ("torchopt_notes.AdamW([param], backend='compiled')", "optimizer.step"),
    "ours eager": ("torchopt_notes.AdamW([param], backend='eager')", "optimizer.step"),
    "torch foreach compiled": ("torch.optim.AdamW([param], foreach=True)", "torch.compile(optimizer.step)"),
    "torch fused": ("torch.optim.AdamW([param], fused=True)", "optimizer.step"),
}


def import_time(rounds: int) -> dict[str, Any]:
    """Seconds to import torch; the package after it; and the package with an optimizer of it, which it loads on demand.

    Every time in a new process, after one that fills the machine's caches.
    """
    in_process(IMPORT)
    raw = [in_process(IMPORT) for _ in range(rounds)]
    torchs, package, optimizer = (statistics.median(column) for column in zip(*raw, strict=True))
    return {"torch": torchs, "package": package, "with an optimizer": optimizer, "raw": raw}


def first_step(names: Iterable[str] = tuple(STEPS)) -> dict[str, float]:
    """Seconds of AdamW's first step, where nothing that was compiled before can be used again."""
    found = {}
    for name in names:
        construct, step = STEPS[name]
        source = FIRST.format(construct=construct, step=step)
        found[name] = float(in_process(source, TORCHINDUCTOR_FORCE_DISABLE_CACHES="1"))
    return found
