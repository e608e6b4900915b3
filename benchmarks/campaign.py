"""Everything that one run measures: which studies, in what order, and what else."""

from __future__ import annotations

import datetime
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from benchmarks import end_to_end, host, startup
from benchmarks.cases import MILLION, Case, Shape, count, find_cases, shrunk, synthetic
from benchmarks.contestants import HYPERPARAMETERS, YARDSTICK, find_contestants
from benchmarks.gate import Verdict
from benchmarks.goals import LARGE
from benchmarks.linearity import linearity
from benchmarks.measuring import limit, machine
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.study import Row, Skipped, Study

WITH_CLIPPING = ("one-20m", "one-200m", "gpt2-124m", "resnet-101", "tiny-2000")
CURVES: dict[str, tuple[int, ...]] = {
    "elements": (10**3, 10**4, 10**5, 10**6, 10**7, 10**8),
    "tensors": (1, 10, 100, 1_000, 10_000),
}
ON_CURVES = ("ours", "torch fused", "torch default")
ROOM = 12
"""Copies of the parameters that two contestants may hold at once: each its parameters, gradients, two states, and as
much again in the middle of a step."""

TRAINING_STEPS = 300

Progress = Callable[[str, int, int], object]
"""Told what is being measured, how much is done, and of how much."""


@dataclass(frozen=True)
class Campaign:
    """What was asked for.

    Attributes:
        device, dtype: where, and of what the parameters are.
        cases, optimizers, peers, operations: names and patterns of them; optimizers None for AdamW everywhere and every
            other on one large tensor.
        rounds: timed steps of each contestant.
        budget: seconds that two contestants take turns for at most.
        quick: small likenesses of everything, a few rounds: to see that it works.
    """

    device: str
    dtype: torch.dtype = torch.float32
    cases: Sequence[str] = ("*",)
    optimizers: Sequence[str] | None = None
    peers: Sequence[str] = ("*",)
    operations: Sequence[str] = OPERATIONS
    rounds: int = 31
    budget: float = 6.0
    quick: bool = False

    def check(self) -> None:
        """Looks at every name before anything is measured.

        Raises:
            ValueError: for a name that there is not, or numbers that make no sense; the message lists what there is.
        """
        find_cases(self.cases)
        find_contestants(self.peers)
        for what, names, known in (
            ("optimizer", self.optimizers or (), HYPERPARAMETERS),
            ("operation", self.operations, OPERATIONS),
        ):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"no {what} is called {unknown[0]!r}; there are {', '.join(known)}")
        if self.rounds < 2 or self.budget <= 0:
            raise ValueError(
                f"rounds must be at least 2 and budget above 0, got {self.rounds} and {self.budget}: without a second "
                "sample there is no spread"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for, and torch finds no GPU; use --device cpu")

    def run(self, progress: Progress) -> dict[str, Any]:
        """Measures all of it, and returns plain values."""
        self.check()
        small = self.quick
        result: dict[str, Any] = {
            "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "quick": small,
            "device": self.device,
            "machine": machine.describe(self.device),
            "limit": limit.bandwidth(self.device, 10**5 if small else 50 * MILLION),
        }
        studies = list(self._studies())
        found: list[Row | Skipped] = list(self._without_room())
        curves: dict[str, list[Row]] = {curve: [] for curve in CURVES}
        verdicts: dict[tuple[str, str], Verdict] = {}
        for done, (curve, study) in enumerate(studies):
            progress(f"{study.optimizer}, {study.case.name}, {study.operation}", done, len(studies))
            rows = list(study.run(verdicts))
            if curve is None:
                found += rows
            else:
                curves[curve] += [row for row in rows if isinstance(row, Row)]
        result["rows"] = [asdict(row) for row in found if isinstance(row, Row)]
        result["skipped"] = [asdict(one) for one in found if isinstance(one, Skipped)]
        result["curves"] = {curve: [asdict(row) for row in rows] for curve, rows in curves.items()}
        if self.device == "cpu":
            progress("host time and start-up", len(studies), len(studies))
            interpreter = importlib.util.find_spec("triton") is not None
            result["host"] = (
                host.host_time(50 if small else 1_000, 5 if small else 5 * self.rounds) if interpreter else None
            )
            result["import"] = startup.import_time(1 if small else 5)
        if not small:
            result["first step"] = startup.first_step() if self.device == "cpu" else {}
            result["linearity"] = linearity(self.device, self.dtype, self.rounds)
        steps = 3 if small else TRAINING_STEPS
        wrong = {name for (name, optimizer), verdict in verdicts.items() if optimizer == "adamw" and not verdict.right}
        contestants = [
            one
            for one in find_contestants(self.peers)
            if self.device in one.devices and "adamw" in one.entries and one.name not in wrong
        ]
        result["training"] = list(
            end_to_end.train(contestants, steps, self.device, lambda done: progress("training a GPT", done, steps))
        )
        return result

    def _studies(self) -> Iterator[tuple[str | None, Study]]:
        """Each with the name of the curve that it is a point of, if it is one."""
        for case, shapes in self._cases():
            if count(shapes) > self.room:
                continue
            for optimizer in self._optimizers(case):
                for operation in OPERATIONS:
                    if operation not in self.operations:
                        continue
                    if operation == "step" or (case.name in WITH_CLIPPING and optimizer == "adamw"):
                        study = self._study(case, shapes, optimizer, operation)
                        if case.name == LARGE[self.device] and operation == "step":
                            study = replace(study, contestants=(*study.contestants, YARDSTICK))
                        yield None, study
        if tuple(self.cases) == ("*",):
            for curve, points in CURVES.items():
                for point in points[:2] if self.quick else points:
                    shapes = synthetic.one(point, columns=100) if curve == "elements" else synthetic.many(point)
                    case = Case(f"{curve}: {point:,}", "a point of a curve", lambda room: ())
                    study = self._study(case, shapes, "adamw", "step")
                    few = tuple(one for one in study.contestants if one.name in ON_CURVES)
                    yield curve, replace(study, contestants=few)

    def _study(self, case: Case, shapes: Sequence[Shape], optimizer: str, operation: Operation) -> Study:
        rounds, budget = (3, 1.0) if self.quick else (self.rounds, self.budget)
        contestants = find_contestants(self.peers)
        return Study(case, shapes, optimizer, operation, contestants, self.device, self.dtype, rounds, budget)

    def _cases(self) -> Iterator[tuple[Case, Sequence[Shape]]]:
        for case in find_cases(self.cases):
            if self.device in case.devices:
                shapes = case.shapes(self.room)
                yield case, shrunk(shapes) if self.quick else shapes

    def _without_room(self) -> Iterator[Skipped]:
        for case, shapes in self._cases():
            if count(shapes) > self.room:
                reason = f"there is no memory for {count(shapes):,} elements"
                yield Skipped(case.name, "all", "all", reason)

    def _optimizers(self, case: Case) -> Sequence[str]:
        if self.optimizers is not None:
            return self.optimizers
        return tuple(HYPERPARAMETERS) if case.name == LARGE[self.device] else ("adamw",)

    @property
    def room(self) -> float:
        """Elements for which there is memory."""
        if self.device == "cuda":
            memory: float = torch.cuda.get_device_properties(0).total_memory
        else:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return 0.9 * memory / (ROOM * self.dtype.itemsize)
