"""The loop: what happens to both contestants alike."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from .. import Optimizer
from .gpt import GPT
from .text import Text, batches

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class Settings:
    """What is trained, and how. ``lr`` is the peak of the schedule."""

    steps: int = 600
    seed: int = 0
    batch: int = 12
    block: int = 128
    lr: float = 3e-3
    final_lr_share: float = 0.05
    warmup_steps: int = 60
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    validation_batches: int = 16


class BackendRow(NamedTuple):
    """Who served which parameters, and why."""

    parameters: tuple[str, ...]
    elements: int
    backend: str
    reason: str


@dataclass(frozen=True)
class Result:
    """What one contestant did. Losses are in nats per character."""

    name: str
    losses: tuple[float, ...]
    validation_loss: float
    step_seconds: float
    """Median time of ``optimizer.step()``."""
    state_bytes: int
    backends: tuple[BackendRow, ...]

    @property
    def final_loss(self) -> float:
        """The training loss, averaged over the last 20 steps because a single batch is noisy."""
        return statistics.fmean(self.losses[-20:])


@contextmanager
def deterministic() -> Iterator[None]:
    """Lets torch use nothing whose result depends on the order in which threads arrive."""
    # cuBLAS reads this once, when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    algorithms, fill = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory finds bugs and costs time, which would be measured here.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms)
        memory.fill_uninitialized_memory = fill


def initial_model(text: Text, settings: Settings, device: torch.device) -> GPT:
    """The model that every contestant starts from, with the same weights on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return GPT(len(text.vocabulary), settings.block).to(device)


def parameter_groups(model: GPT, settings: Settings) -> list[dict[str, Any]]:
    """Named parameters in two groups: matrices decay, biases and norms do not."""
    named = list(model.named_parameters())
    return [
        {"params": [(name, p) for name, p in named if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [(name, p) for name, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]


def lr_factor(step: int, settings: Settings) -> float:
    """Linear warm-up, then half a cosine down to ``final_lr_share``; multiplied with the peak lr."""
    warmup = min(settings.warmup_steps, settings.steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.final_lr_share + (1 - settings.final_lr_share) * (1 + math.cos(math.pi * progress)) / 2


def train(
    name: str, make_optimizer: MakeOptimizer, start: GPT, text: Text, settings: Settings, on_step: OnStep
) -> Result:
    """Trains a copy of ``start``.

    Args:
        name: the contestant's, for the report.
        make_optimizer: takes the parameter groups.
        start: the initial model; left as it is.
        text: what to train and validate on.
        settings: the same for every contestant that is to be compared.
        on_step: called after each step with the number of steps done and the loss.
    """
    model = copy.deepcopy(start)
    optimizer = make_optimizer(parameter_groups(model, settings))
    schedule = LambdaLR(optimizer, lambda step: lr_factor(step, settings))
    losses: list[float] = []
    seconds: list[float] = []
    for tokens, targets in batches(text.train, settings.steps, settings.batch, settings.block, settings.seed):
        optimizer.zero_grad()
        loss = model.loss(tokens, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        seconds.append(_timed(optimizer.step, tokens.device))
        schedule.step()
        losses.append(loss.item())
        on_step(len(losses), losses[-1])
    return Result(
        name=name,
        losses=tuple(losses),
        validation_loss=_validate(model, text, settings),
        step_seconds=statistics.median(seconds),
        state_bytes=state_bytes(optimizer),
        backends=backend_rows(optimizer),
    )


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Memory of all tensors that the optimizer keeps about its parameters."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def backend_rows(optimizer: torch.optim.Optimizer) -> tuple[BackendRow, ...]:
    """Who runs the step; nothing for an optimizer that cannot explain itself."""
    if not isinstance(optimizer, Optimizer):
        return ()
    return tuple(BackendRow(row.parameters, row.elements, row.backend, row.reason) for row in optimizer.explain())


def largest_difference(first: Sequence[float], second: Sequence[float]) -> float:
    """Largest absolute difference of two loss curves at the same step."""
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _timed(step: Callable[[], Any], device: torch.device) -> float:
    # Kernels run behind the host's back: without both waits the backward pass would be counted, and the step not.
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@torch.no_grad()
def _validate(model: GPT, text: Text, settings: Settings) -> float:
    """Mean loss over the same windows for every contestant."""
    drawn = batches(text.validation, settings.validation_batches, settings.batch, settings.block, settings.seed)
    return statistics.fmean(model.loss(tokens, targets).item() for tokens, targets in drawn)
