"""The reference page of the harness: its scenarios, tolerances and plan, from the tables that it runs by.

``python -m torchopt_notes.testing.pages`` prints the page that is committed as ``docs/parity-reference.md``; a test
fails until that is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .explained import EXPLAINED
from .growth import BIAS_LIMIT, RATIO_LIMIT
from .plan import DEFAULT_DTYPES, GROWTH_STEPS, INTERPRETED
from .scenarios import SCENARIOS, Scenario
from .tolerances import KINDS, TOLERANCES, Roundings
from .trials import SURVEYED

INTRODUCTION = """\
# The parity harness, in tables

Printed by `python -m torchopt_notes.testing.pages` from the tables that the harness runs by. What it compares with
what, and how to use it: [parity.md](parity.md). What came out: [parity-table.md](parity-table.md).
"""

UNITS = """\
A *unit* is the spacing of the compute precision at the exact result, plus what half a spacing of each input and of the
learning rate moves the result by. It counts one rounding of each input and one of the result, and grows where numbers
cancel. What it cannot count are roundings in the middle of a rule; these, and no measurement, say how many units a
result may be from float64."""

STATES = """\
Every step begins with the reference's parameters and states. Where the two keep different states, and so each its own
(`states=False`), step t may be t times as far: a state then carries the roundings of t steps, of which averages keep
at most the sum, and a unit counts one."""


def page() -> str:
    """The page, in Markdown."""
    return "\n".join(
        [
            INTRODUCTION,
            f"## {len(SCENARIOS)} scenarios",
            "",
            *_table(("scenario", "what is special", "steps", "groups", "events", "says nothing about"), _scenarios()),
            "",
            "## Units",
            "",
            UNITS,
            "",
            *_table(
                ("parameters", "computed in", "rounded on storing", "units widened by"),
                [
                    (
                        f"`{str(one.dtype)[6:]}`",
                        f"`{str(one.compute)[6:]}`",
                        "once more, as the exact result is before the comparison" if one.rounds_on_store else "no",
                        "1" if one.oracle_factor == 1 else f"{one.oracle_factor}: the oracle rounds too",
                    )
                    for one in TOLERANCES.values()
                ],
            ),
            "",
            *_table(("kind of rule", "units", "because", "optimizers"), _kinds()),
            "",
            STATES,
            "",
            "## What runs by default",
            "",
            *_table(("backend", "dtypes", "sets of flags", "scenarios"), _plan()),
            "",
            f"The first set of flags of each optimizer also has its error measured over {GROWTH_STEPS:,} steps (not in "
            "fp64, where the oracle is no more exact, and not under the interpreter). It fails if the error is then "
            f"more than {RATIO_LIMIT:g} times the reference's, or larger and farther along the path by more than "
            f"{BIAS_LIMIT:g} standard deviations.",
            "",
            "## Differences that are meant",
            "",
            *_table(("case", "scenario", "dtypes", "backends", "why"), _explained()),
        ]
    )


def _scenarios() -> Iterator[Sequence[str]]:
    for one in SCENARIOS:
        events = ", ".join(f"{event} before step {step}" for step, event in one.events.items())
        yield f"`{one.name}`", one.about, str(one.steps), "several" if one.grouped else "one", events, _silent(one)


def _silent(one: Scenario) -> str:
    silent = ["complex parameters"] if not one.complex_too else []
    if one.underflows:
        silent.append("rules without another reference than float64, which does not underflow")
    if one.sparse:
        silent.append("who refuses sparse gradients, and says so")
    return "; ".join(silent)


def _kinds() -> Iterator[Sequence[str]]:
    for name, kind in KINDS.items():
        yield name, str(kind.units), kind.because, ", ".join(_users(kind))


def _users(kind: Roundings) -> list[str]:
    if kind is KINDS["plain"]:
        return ["the rest"]
    names = {case.optimizer.__name__: case for case in SURVEYED if case.roundings is kind}
    whole = {n for n, c in names.items() if all(o.roundings is kind for o in SURVEYED if o.optimizer is c.optimizer)}
    return [f"`{name}`" if name in whole else f"`{name}` with momentum" for name in names]


def _plan() -> Iterator[Sequence[str]]:
    firsts = len({case.optimizer for case in SURVEYED})
    for backend, dtypes in DEFAULT_DTYPES.items():
        every = [dtype for dtype in dtypes if (backend, dtype) == ("eager", "fp32")]
        some = [dtype for dtype in dtypes if dtype not in every]
        scenarios = "all"
        if backend == "triton":
            named = ", ".join(f"`{name}`" for name in INTERPRETED)
            scenarios = f"on GPUs all; under Triton's interpreter, and then in fp32 alone, {named}"
        if every:
            yield backend, ", ".join(every), f"all {len(SURVEYED)}", scenarios
        yield backend, ", ".join(some), f"the first of each of the {firsts} optimizers that takes the dtype", scenarios


def _explained() -> Iterator[Sequence[str]]:
    for one in EXPLAINED:
        yield f"`{one.case}`", f"`{one.scenario}`", ", ".join(one.dtypes), ", ".join(one.backends), one.reason


def _table(header: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    print(page())
