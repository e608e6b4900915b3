"""The demo's GPT trained by every contestant: what an optimizer's speed is worth in a whole training step."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmarks.contestants import OURS, Contestant, UnavailableError
from benchmarks.study import reason
from torchopt_notes.demo.gpt import GPT
from torchopt_notes.demo.text import batches, load
from torchopt_notes.demo.train import Settings, initial_model, parameter_groups

HYPER = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8}


@dataclass
class Run:
    """One contestant's training.

    Attributes:
        contestant: who.
        model, optimizer: its own.
        seconds: of each whole step, forward to update.
        update: of clipping and the optimizer's step alone.
        losses: before each step.
    """

    contestant: Contestant
    model: GPT
    optimizer: torch.optim.Optimizer
    seconds: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def train(self, tokens: torch.Tensor, targets: torch.Tensor, max_norm: float) -> None:
        """One step."""
        _wait(tokens)
        began = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self.model.loss(tokens, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        _wait(tokens)
        updating = time.perf_counter()
        if self.contestant.distribution != OURS.distribution:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        self.optimizer.step()
        _wait(tokens)
        ended = time.perf_counter()
        self.seconds.append(ended - began)
        self.update.append(ended - updating)
        self.losses.append(loss.item())


@dataclass(frozen=True)
class Result:
    """What came of it. ``total`` leaves out the first step, which compiles; ``share`` is the update's part of it."""

    contestant: str
    total: float
    first: float
    step: float
    update: float
    share: float
    final_loss: float


def train(
    contestants: Sequence[Contestant], steps: int, device: str, progress: Callable[[int], object]
) -> Iterator[dict[str, Any]]:
    """Trains all of them side by side, a step each in turn, from the same weights on the same batches."""
    settings = Settings(steps=steps)
    where = torch.device(device)
    text = load(where)
    start = initial_model(text, settings, where)
    runs = []
    for contestant in contestants:
        model = copy.deepcopy(start)
        fused = contestant.distribution == OURS.distribution
        try:
            make = contestant.maker("adamw", HYPER, device)
            optimizer = make(
                parameter_groups(model, settings), **({"max_grad_norm": settings.max_grad_norm} if fused else {})
            )
        except UnavailableError as error:
            yield {"contestant": contestant.name, "skipped": str(error)}
            continue
        except Exception as error:  # other people's code: whatever it raises is why it is left out
            if fused:
                raise
            yield {"contestant": contestant.name, "skipped": reason(error)}
            continue
        runs.append(Run(contestant, model, optimizer))
    if any(run.contestant.compiled for run in runs):
        torch.compiler.reset()  # what else was compiled would count against the limit of a few
    for turn, (tokens, targets) in enumerate(
        batches(text.train, settings.steps, settings.batch, settings.block, settings.seed)
    ):
        for run in list(runs if turn % 2 == 0 else reversed(runs)):
            try:
                run.train(tokens, targets, settings.max_grad_norm)
            except Exception as error:  # as above
                if run.contestant.distribution == OURS.distribution:
                    raise
                runs.remove(run)
                yield {"contestant": run.contestant.name, "skipped": reason(error)}
        progress(turn + 1)
    for run in runs:
        total = sum(run.seconds[1:])
        yield asdict(
            Result(
                run.contestant.name,
                total,
                run.seconds[0],
                statistics.median(run.seconds),
                statistics.median(run.update),
                sum(run.update[1:]) / total if total else 0.0,
                statistics.fmean(run.losses[-20:]),
            )
        )


def _wait(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()
