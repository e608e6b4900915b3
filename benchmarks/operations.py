"""What is timed: a step alone, or with what usually surrounds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.contestants import OURS, Contestant

Operation = Literal["step", "clip", "unscale"]
OPERATIONS: tuple[Operation, ...] = ("step", "clip", "unscale")
MAX_NORM = 1.0


def ours(operation: Operation) -> dict[str, Any]:
    """The arguments with which this package does it within its step."""
    return {} if operation == "step" else {"max_grad_norm": MAX_NORM}


def bind(
    operation: Operation,
    contestant: Contestant,
    optimizer: torch.optim.Optimizer,
    params: Sequence[Tensor],
    device: str,
) -> Callable[[], object]:
    """One call that does it all.

    The scale of the loss is 1, so that gradients which others unscale in place stay what they are: they would become
    denormal, and slow.
    """
    step = optimizer.step
    fused = contestant.distribution == OURS.distribution
    if operation == "step":
        return step
    if operation == "clip":
        return step if fused else lambda: (torch.nn.utils.clip_grad_norm_(params, MAX_NORM), step())
    scaler = torch.amp.GradScaler(device, init_scale=1.0, growth_interval=2**30)
    scaler.scale(torch.ones((), device=device))  # makes the scaler's tensors, as a first loss does

    def whole() -> None:
        if not fused:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(params, MAX_NORM)
        scaler.step(optimizer)
        scaler.update()

    return whole
