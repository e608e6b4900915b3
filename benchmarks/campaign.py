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
from benchmarks.cases import CASES, MILLION, Case, Shape, count, find_cases, shrunk, synthetic
from benchmarks.contestants import HYPERPARAMETERS, YARDSTICK, Contestant, find_contestants
from benchmarks.gate import Verdict
from benchmarks.goals import LARGE
from benchmarks.linearity import linearity
from benchmarks.measuring import limit, machine
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.study import Row, Skipped, Study

WITH_CLIPPING = {
    "cpu": ("one-20m", "gpt2-124m", "tiny-2000"),
    "cuda": ("one-200m", "gpt2-124m", "resnet-101", "tiny-2000"),
}
CURVES: dict[str, tuple[int, ...]] = {
    "elements": (10**3, 10**4, 10**5, 10**6, 10**7, 10**8),
    "tensors": (1, 10, 100, 1_000, 10_000),
}
ON_CURVES = ("ours", "torch fused", "torch default")
ROOM = {"cpu": 24, "cuda": 12}
"""Copies of the parameters that there must be memory for: two contestants hold theirs at once, each its parameters,
gradients, two states, and as much again in the middle of a step. On a CPU there are others who need memory, and steps
of whole seconds."""

PARTS = ("-quick", "-part")
"""How the names of results end that are not the whole."""

TRAINING_STEPS = 100
LINEAR_FROM, LINEAR_TIMES = 20 * MILLION, 10

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
        extras: also the curves, a training, linearity, times at start and on the host. None: where all cases are
            measured.
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
    extras: bool | None = None

    @property
    def whole(self) -> bool:
        """Whether everything is measured that there is."""
        return tuple(self.cases) == tuple(self.peers) == ("*",) and self.optimizers is None

    @property
    def suffix(self) -> str:
        """What distinguishes the result's name from that of the whole."""
        return PARTS[0] if self.quick else "" if self.whole else PARTS[1]

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

    def run(self, progress: Progress, keep: Callable[[dict[str, Any]], object] = lambda result: None) -> dict[str, Any]:
        """Measures all of it, and returns plain values.

        Args:
            progress: told what is measured.
            keep: given what there is so far after each part: a long run may end early.
        """
        self.check()
        result: dict[str, Any] = {
            "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            "device": self.device,
            "machine": machine.describe(self.device),
            "limits": [self._limit()],
            "rows": [],
            "skipped": list(map(asdict, self._without_room())),
            "curves": {curve: [] for curve in CURVES},
        }
        verdicts: dict[tuple[str, str], Verdict] = {}
        studies = list(self._studies())
        for done, (curve, study) in enumerate(studies):
            progress(f"{study.optimizer}, {study.case.name}, {study.operation}", done, len(studies))
            found = list(study.run(verdicts))
            rows = [asdict(row) for row in found if isinstance(row, Row)]
            if curve is None:
                result["rows"] += rows
                result["skipped"] += [asdict(one) for one in found if isinstance(one, Skipped)]
            else:
                result["curves"][curve] += rows
            keep(result)
        result["limits"].append(self._limit())
        if self._with_extras:
            for name, measured in self._extras(verdicts, progress):
                result[name] = measured
                keep(result)
        keep(result)
        return result

    @property
    def _with_extras(self) -> bool:
        return tuple(self.cases) == ("*",) if self.extras is None else self.extras

    def _limit(self) -> dict[str, float]:
        return limit.bandwidth(self.device, 10**5 if self.quick else 50 * MILLION)

    def _extras(self, verdicts: dict[tuple[str, str], Verdict], progress: Progress) -> Iterator[tuple[str, Any]]:
        small = self.quick
        if self.device == "cpu":
            progress("times at start and on the host", 0, 1)
            if importlib.util.find_spec("triton") is not None:
                yield "host", host.host_time(50 if small else 1_000, 5 if small else 5 * self.rounds)
            yield "import", startup.import_time(1 if small else 5)
            yield "first step", {} if small else startup.first_step()
        if not small and self.room >= LINEAR_FROM * LINEAR_TIMES:
            yield "linearity", linearity(self.device, self.dtype, self.rounds, LINEAR_FROM, LINEAR_TIMES)
        steps = 3 if small else TRAINING_STEPS
        trained = [one for one in find_contestants(self.peers) if self._may_train(one, verdicts)]
        yield (
            "training",
            list(end_to_end.train(trained, steps, self.device, lambda done: progress("training a GPT", done, steps))),
        )

    def _may_train(self, contestant: Contestant, verdicts: dict[tuple[str, str], Verdict]) -> bool:
        case = CASES[0]
        verdict = self._study(case, shrunk(case.shapes(self.room)), "adamw", "step").admitted(contestant, verdicts)
        return isinstance(verdict, Verdict) and verdict.right

    def _studies(self) -> Iterator[tuple[str | None, Study]]:
        """Each with the name of the curve that it is a point of, if it is one."""
        for case, shapes in self._cases():
            if count(shapes) > self.room:
                continue
            for optimizer in self._optimizers(case):
                for operation in OPERATIONS:
                    if operation not in self.operations:
                        continue
                    if operation == "step" or (case.name in WITH_CLIPPING[self.device] and optimizer == "adamw"):
                        study = self._study(case, shapes, optimizer, operation)
                        if case.name == LARGE[self.device] and operation == "step":
                            study = replace(study, contestants=(*study.contestants, YARDSTICK))
                        yield None, study
        if self._with_extras:
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
        return 0.9 * memory / (ROOM[self.device] * self.dtype.itemsize)
