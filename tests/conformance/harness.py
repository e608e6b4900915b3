"""A check: something that torch's optimizers do, and that must hold for ours with every input that torch lists."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.conformance.database import PAIRS, ErrorInput, Input, Pair, on_cpu
from tests.conformance.deviations import TORCH, Deviation, find

FAILURES = (AssertionError, pytest.fail.Exception)
Case = Input | ErrorInput
Wrong = Callable[[type], type]


@dataclass(frozen=True)
class Subject:
    """What a check looks at: our class and torch's, a backend, and a set of arguments.

    Attributes:
        ours: our class, or a deliberately wrong subclass of it.
        failures: what failed in parts of the check.
    """

    pair: Pair
    given: Any
    backend: str
    ours: Any
    failures: list[BaseException] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether the bits must be torch's; on the device the numbers of a step are worked out otherwise."""
        return self.backend == "eager" and not self.kwargs.get("capturable")

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments, for one optimizer."""
        return self.given.kwargs

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """A part of the check after which it goes on, failed or not: a listed deviation must not hide what follows."""
        try:
            yield
        except FAILURES as error:
            self.failures.append(error)

    def make(self, params: Any, **more: Any) -> Any:
        """Our optimizer."""
        return self.ours(params, **{"backend": self.backend, **self.kwargs, **more})

    def torchs(self, params: Any, **more: Any) -> torch.optim.Optimizer:
        """torch's, which takes no ``capturable`` on the CPU."""
        kwargs = {**self.kwargs, **more}
        kwargs.pop("capturable", None)
        return self.pair.theirs(params, **kwargs)


@dataclass(frozen=True)
class Check:
    """A check, and what shows that it can fail.

    Attributes:
        name: the test's name.
        holds: what holds where it passes.
        wrong: makes of a class one that the check must catch.
        cases: the inputs of an optimizer that it looks at.
        everywhere: whether it says anything about other backends than the eager one.
        one_variant: whether it needs no other compiled code than that of the given arguments.
        slow: whether it takes many steps: too slow for interpreted kernels in a quick test, and for more than the
            representative inputs on the eager backend.
        quick: whether a cell's test on the eager backend is a quick one.
    """

    name: str
    holds: str
    body: Callable[[Subject], None]
    wrong: Wrong
    cases: Callable[[Pair], Sequence[Any]]
    everywhere: bool
    one_variant: bool
    slow: bool
    quick: Callable[[Cell], bool]

    def cells(self, backend: str) -> Iterator[Cell]:
        """Every optimizer and input that this looks at."""
        for pair in PAIRS:
            if backend == "eager" or (self.everywhere and not pair.sparse_only):
                for given in self.cases(pair):
                    yield Cell(self, pair, given, backend)


@dataclass(frozen=True)
class Cell:
    """A check on one optimizer, input and backend."""

    check: Check
    pair: Pair
    given: Any
    backend: str
    deviation: Deviation | None = field(init=False)

    def __post_init__(self) -> None:
        found = find(self.pair.name, self.check.name, self.given.name, self.backend)
        object.__setattr__(self, "deviation", found)

    @property
    def representative(self) -> bool:
        """Whether the input is the one that stands for the others, or none of torch's."""
        return not isinstance(self.given, Input) or self.given in (self.pair.representative, *NOT_TORCHS)

    @property
    def selected(self) -> bool:
        """Whether its backend runs it at all.

        Compiling takes seconds, and interpreted kernels are slow: the compiled backend takes all inputs that torch
        takes on the CPU, but only one of them in checks that need further code; Triton takes the one.
        """
        if self.backend == "compiled" and self.check.one_variant and isinstance(self.given, Input):
            return self.representative or on_cpu(self.given)
        return self.backend == "eager" or self.representative

    @property
    def quick(self) -> bool:
        """Whether its test is among the quick ones."""
        if self.backend == "eager":
            return self.check.quick(self) and (self.representative or not self.check.slow)
        affordable = not self.check.slow if self.backend == "triton" else self.check.one_variant
        return self.representative and affordable

    def run(self, ours: type | None = None) -> None:
        """Fails unless our class, or the given one, does what torch's does, or deviates as is listed and no further."""
        subject = Subject(self.pair, self.given, self.backend, ours or self.pair.ours)
        broken = None
        try:
            # The last part ends where the check does.
            with subject.part():
                self.check.body(subject)
        except Exception as error:
            broken = error
        shows = () if self.deviation is None else self.deviation.shows
        missing = set(shows)
        for failure in subject.failures:
            if self.deviation is None:
                raise failure
            # pytest puts the expression that was asserted below the message.
            said = str(failure).partition("\n")[0]
            expected = {sentence for sentence in shows if re.fullmatch(sentence, said)}
            if not expected:
                pytest.fail(f"deviates otherwise than tests/conformance/deviations.py says: {failure}")
            missing -= expected
        # What breaks may do so for what a part has found, and is itself never a deviation.
        if broken is not None:
            raise broken
        # Another release of torch may not do yet, or no longer, what the list says of this one.
        if missing and torch.__version__.startswith(TORCH):
            pytest.fail(f"no longer deviates; mend tests/conformance/deviations.py: {missing} of {self.deviation}")


NOT_TORCHS: list[Input] = []
CHECKS: list[Check] = []


def every_input(pair: Pair) -> Sequence[Input]:
    """All of torch's inputs."""
    return pair.inputs


def one_input(pair: Pair) -> Sequence[Input]:
    """The one that stands for the others."""
    return [pair.representative]


def where(condition: Callable[[Pair], bool], cases: Callable[[Pair], Sequence[Any]]) -> Callable[[Pair], Sequence[Any]]:
    """The cases of the optimizers for which a condition holds."""
    return lambda pair: cases(pair) if condition(pair) else []


def conforms(
    wrong: Wrong,
    cases: Callable[[Pair], Sequence[Any]] = every_input,
    *,
    everywhere: bool = True,
    one_variant: bool = True,
    slow: bool = False,
    quick: Callable[[Cell], bool] = lambda cell: True,
) -> Callable[[Callable[[Subject], None]], Callable[[Cell], None]]:
    """Makes a test of every cell of a check, on the eager backend."""

    def decorate(body: Callable[[Subject], None]) -> Callable[[Cell], None]:
        holds = " ".join((body.__doc__ or "").split())
        check = Check(
            body.__name__.removeprefix("test_"), holds, body, wrong, cases, everywhere, one_variant, slow, quick
        )
        CHECKS.append(check)

        @pytest.mark.parametrize(
            "cell",
            [
                pytest.param(
                    cell,
                    id=f"{cell.pair.name}-{cell.given.name}",
                    marks=[] if cell.quick else [pytest.mark.full],
                )
                for cell in check.cells("eager")
            ],
        )
        def test(cell: Cell) -> None:
            cell.run()

        test.__doc__ = body.__doc__
        return test

    return decorate
