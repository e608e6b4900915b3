"""Time that the host spends on a step of the Triton backend, whose launches do nothing here.

Runs where there is no GPU, in a process with ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import statistics
import time
from typing import Any
from unittest import mock

import torch

import torchopt_notes
from benchmarks.processes import in_process

ELEMENTS = 100


def host_time(tensors: int, rounds: int, optimizer: str = "AdamW") -> dict[str, Any]:
    """Seconds per tensor, with the gradients where they were, and with gradients that were allocated anew."""
    found: dict[str, Any] = in_process(
        f"from benchmarks import host\nresult = host.measure({tensors}, {rounds}, {optimizer!r})", TRITON_INTERPRET="1"
    )
    return found


def measure(tensors: int, rounds: int, optimizer: str) -> dict[str, Any]:
    """The same, in a process whose kernels are interpreted."""
    params = [torch.nn.Parameter(torch.randn(ELEMENTS)) for _ in range(tensors)]
    for param in params:
        param.grad = torch.randn(ELEMENTS)
    made = getattr(torchopt_notes, optimizer)(params, backend="triton")
    made.step()
    steady, moving = [], []
    # Where kernels are launched from: one place of the update, one of its numbers.
    with (
        mock.patch("torchopt_notes.engine.fused.launch", new=_nothing),
        mock.patch("torchopt_notes.engine.rows.launch", new=_nothing),
    ):
        for _ in range(rounds):
            steady.append(_seconds(made) / tensors)
        for _ in range(rounds):
            # Other addresses than before: while the old ones are held, the allocator cannot hand them out again.
            held = [param.grad for param in params]
            for param in params:
                param.grad = torch.empty(ELEMENTS)
            moving.append(_seconds(made) / tensors)
            del held
    return {
        "optimizer": optimizer,
        "tensors": tensors,
        "steady": statistics.median(steady),
        "moving": statistics.median(moving),
        "raw": {"steady": steady, "moving": moving},
    }


def _nothing(*_: object, **__: object) -> None:
    """Instead of a launch."""


def _seconds(optimizer: torch.optim.Optimizer) -> float:
    start = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - start
