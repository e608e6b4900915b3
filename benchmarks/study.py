"""One case and one optimizer: every contestant against ours, in turns."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import torchopt_notes
from benchmarks.cases import Case, Shape, count
from benchmarks.contestants import HYPERPARAMETERS, OURS, Contestant, UnavailableError
from benchmarks.gate import Verdict, examine
from benchmarks.measuring.clock import Samples, Step, ratio, take_turns
from benchmarks.measuring.machine import last_level_cache
from benchmarks.measuring.memory import launches, peak_extra
from benchmarks.measuring.traffic import minimal_bytes
from benchmarks.operations import Operation, bind, ours

CACHES = 4
"""Sets of tensors take turns until together they are so many times the size of the largest cache."""

MOST_SETS = 16
ALIKE = 1e-2
"""How far two contestants may be apart after what was timed, as a part of how far they came."""

MOST_COMPILED_SETS = 4
"""Where each set is compiled for, and torch gives up after eight."""


@dataclass(frozen=True)
class Row:
    """One contestant in one case.

    Attributes:
        case, optimizer, operation, device, dtype: what was measured.
        contestant, version: who, "ours" included.
        tensors, elements: of the case.
        bytes: the fewest that this optimizer's update must move; 0 for what is not known here.
        backend: of this package's, who served the parameters.
        sets: how many sets of tensors took turns.
        wrong: why the gate refused it, or empty.
        first: seconds of the first step, compilation included (from a cache if there is one).
        seconds, host: of each call, by device and by host.
        ours: this package's seconds in the same rounds.
        speed: how many times faster ours is, round by round.
        extra: bytes that a step holds beyond what was there.
        launches: kernels per step on a GPU.
    """

    case: str
    optimizer: str
    operation: str
    device: str
    dtype: str
    contestant: str
    version: str | None
    tensors: int
    elements: int
    bytes: int = 0
    backend: str = ""
    sets: int = 1
    wrong: str = ""
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    speed: float = 0.0
    extra: int = 0
    launches: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A contestant that was left out, and why."""

    case: str
    optimizer: str
    contestant: str
    reason: str


@dataclass(frozen=True)
class Study:
    """What to measure.

    Attributes:
        case, shapes: the parameters.
        optimizer: its name.
        operation: the step alone, or with clipping, or with unscaling and clipping.
        contestants: who, ours first.
        rounds, budget: how many samples of each, unless that takes more seconds than the budget.
    """

    case: Case
    shapes: Sequence[Shape]
    optimizer: str
    operation: Operation
    contestants: Sequence[Contestant]
    device: str
    dtype: torch.dtype
    rounds: int
    budget: float = math.inf

    def run(self, verdicts: dict[tuple[str, str], Verdict]) -> Iterator[Row | Skipped]:
        """Each contestant, ours first. ``verdicts`` remembers what the gate has said."""
        others = [one for one in self.contestants if one is not OURS]
        own = self.admitted(OURS, verdicts)
        if not isinstance(own, Verdict):
            yield own
            return
        if not own.right:
            yield self._row(OURS, wrong=own.reason)
            return
        yield self._alone()
        for other in others:
            verdict = self.admitted(other, verdicts)
            if isinstance(verdict, Skipped):
                yield verdict
            elif not verdict.right:
                yield self._row(other, wrong=verdict.reason)
            else:
                yield self._pair(other)
            self._clean()

    def admitted(self, contestant: Contestant, verdicts: dict[tuple[str, str], Verdict]) -> Verdict | Skipped:
        """What the gate says, or why the contestant cannot be asked."""
        if len(self.shapes) > contestant.most_tensors:
            return self._skipped(
                contestant, f"takes minutes to compile for more than {contestant.most_tensors} tensors"
            )
        key = (contestant.name, self.optimizer)
        try:
            if key not in verdicts:
                self._forget_compiled(contestant)
                hyper = HYPERPARAMETERS[self.optimizer]
                verdicts[key] = examine(contestant, self.optimizer, hyper, self.device, self.dtype)
        except UnavailableError as error:
            return self._skipped(contestant, str(error))
        except Exception as error:  # other people's code: whatever it raises is why it cannot be measured
            if contestant is OURS:
                raise
            return self._skipped(contestant, reason(error))
        return verdicts[key]

    def _alone(self) -> Row:
        made = self._make(OURS, self.sets)
        found = take_turns({OURS.name: made.steps}, self.rounds, self.device, self.budget)[OURS.name]
        return self._filled(OURS, made, found, found)

    def _pair(self, other: Contestant) -> Row | Skipped:
        self._forget_compiled(other)
        sets = min(self.sets, MOST_COMPILED_SETS) if other.compiled else self.sets
        own = self._make(OURS, sets)
        try:
            theirs = self._make(other, sets)
            found = take_turns({OURS.name: own.steps, other.name: theirs.steps}, self.rounds, self.device, self.budget)
            if not other.yardstick and (difference := _apart(own, theirs)):
                return self._row(other, wrong=difference)
            return self._filled(other, theirs, found[other.name], found[OURS.name], ratio(found, OURS.name, other.name))
        except Exception as error:  # as above: memory that is not there, among others
            for step in own.steps:
                step()  # if it is ours that fails, it does so here again
            return self._skipped(other, reason(error))

    def _make(self, contestant: Contestant, sets: int) -> _Made:
        make = contestant.maker(self.optimizer, HYPERPARAMETERS[self.optimizer], self.device)
        extra = ours(self.operation) if contestant.distribution == OURS.distribution else {}
        made = _Made()
        for seed in range(sets):
            params = self.case.make(self.shapes, self.device, self.dtype, seed)
            made.params.append(params)
            made.start.append(_looked_at(params))
            optimizer = make(self.case.groups(params), **extra)
            run = bind(self.operation, contestant, optimizer, params, self.device)
            step = Step(run, _Gradients(params))
            began = time.perf_counter()
            step()
            if self.device == "cuda":
                torch.cuda.synchronize()
            made.first.append(time.perf_counter() - began)
            made.steps.append(step)
            made.optimizers.append(optimizer)
        return made

    @property
    def sets(self) -> int:
        """How many sets of tensors leave the cache without any of the next one's."""
        held = 4 * count(self.shapes) * self.dtype.itemsize
        return min(max(-(-CACHES * last_level_cache(self.device) // max(held, 1)), 1), MOST_SETS)

    def _filled(self, contestant: Contestant, made: _Made, found: Samples, own: Samples, speed: float = 1.0) -> Row:
        first = made.optimizers[0]
        known = isinstance(first, torchopt_notes.Optimizer) or contestant.yardstick
        return self._row(
            contestant,
            bytes=minimal_bytes(first, clipped=self.operation != "step") if known else 0,
            backend=", ".join(sorted({row.backend for row in first.explain()}))
            if isinstance(first, torchopt_notes.Optimizer)
            else "",
            sets=len(made.steps),
            first=made.first[0],
            seconds=found.device,
            host=found.host,
            ours=own.device,
            speed=speed,
            extra=peak_extra(made.steps[0], self.device),
            launches=launches(made.steps[0], self.device),
        )

    def _skipped(self, contestant: Contestant, reason: str) -> Skipped:
        return Skipped(self.case.name, self.optimizer, contestant.name, reason)

    def _row(self, contestant: Contestant, **more: Any) -> Row:
        return Row(
            *(self.case.name, self.optimizer, self.operation, self.device, str(self.dtype).removeprefix("torch.")),
            *(contestant.name, contestant.version, len(self.shapes), count(self.shapes)),
            **more,
        )

    def _forget_compiled(self, contestant: Contestant) -> None:
        """A step that torch compiles is compiled for each optimizer that takes it, and after a few no more."""
        if contestant.compiled:
            torch.compiler.reset()

    def _clean(self) -> None:
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


@dataclass
class _Made:
    steps: list[Step] = field(default_factory=list)
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    params: list[list[torch.nn.Parameter]] = field(default_factory=list)
    start: list[torch.Tensor] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


def _apart(own: _Made, theirs: _Made) -> str:
    """Whether what was timed did the same, starting from the same numbers: the gate sees small tensors only.

    Roughly, since roundings add up over all steps, and others measure norms in lower precision.
    """
    for here, there, start in zip(own.params, theirs.params, own.start, strict=True):
        moved = torch.linalg.vector_norm(_looked_at(here) - start)
        apart = torch.linalg.vector_norm(_looked_at(there) - _looked_at(here))
        if not apart <= ALIKE * moved:
            return f"what was timed moved parameters by {moved:.3g} here, and ends {apart:.3g} away from there"
    return ""


def _looked_at(params: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """The ends of some of the parameters, as one vector."""
    some = [param.detach().flatten() for param in params[:: max(len(params) // 50, 1)]]
    return torch.cat([part for param in some for part in (param[:1_000], param[-1_000:])]).double()


class _Gradients:
    """Gives parameters the gradients that they had.

    Some optimizers take them away, and would have nothing to do next time; others write into them, as clipping does,
    and would find other numbers there than a backward pass leaves.
    """

    def __init__(self, params: Sequence[torch.nn.Parameter]) -> None:
        self._params = params
        self._grads = [param.grad for param in params]
        self._copies: list[torch.Tensor | None] = []
        self._versions = self._now()

    def __call__(self) -> None:
        for param, grad in zip(self._params, self._grads, strict=True):
            if param.grad is not grad:
                param.grad = grad
        if not self._copies:
            self._copies = [None if grad is None else grad.clone() for grad in self._grads]
        if self._now() != self._versions:
            for grad, copy in zip(self._grads, self._copies, strict=True):
                if grad is not None and copy is not None:
                    grad.copy_(copy)
            self._versions = self._now()

    def _now(self) -> list[int]:
        return [-1 if grad is None else grad._version for grad in self._grads]


def reason(error: Exception) -> str:
    """What somebody's code raised, in one line."""
    return f"raises {type(error).__name__}: {error}".splitlines()[0]
