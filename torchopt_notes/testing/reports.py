"""A survey's results in words, as JSON and as a page in Markdown."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch

from .comparison import EDGES, Histogram, Outcome, share
from .explained import Explained
from .scenarios import SCENARIOS
from .survey import Cell, Result, cells
from .trials import OurCase


class Figures(NamedTuple):
    """A cell as the table shows it."""

    equal: str
    ulp: str
    error: str
    growth: str
    worst: str
    verdict: str


COLUMNS = (
    ("equal", "numbers that equal the reference's or, where that is float64, its rounded ones"),
    ("max ulp", "the largest distance from the reference's number, in ulps"),
    ("error", "the largest distance of one step from float64, in units; in brackets, how many times the reference's"),
    (
        "growth",
        "the slope of log error against log step over 1,000 steps, ½ for roundings and 1 for a bias; in brackets, how "
        "many times the reference's the error is then",
    ),
    ("worst", "the scenario with the largest distance, and its case where there are several"),
    ("verdict", "same; explained, where a difference is meant; failed; nothing compared"),
)

COMPARED = frozenset({"same", "explained", "failed"})
"""The verdicts of outcomes in which numbers were held against each other."""

SAME_RULE = (
    "Rows against float64 hold the arithmetic against the same rule in float64 and cannot see a wrong rule; the rules "
    "that torch.optim does not have are held against the papers' formulas in tests/optim: test_papers.py, "
    "test_momentum.py and test_variants.py."
)
"""What a reader must know of a row that is green without an independent reference."""


def figures(cell: Cell) -> Figures:
    """What a cell's row says."""
    histogram, growth = cell.histogram, cell.growth
    total = sum(histogram.counts)
    return Figures(
        share(histogram.counts[0] / total) if total else "–",
        f"{histogram.largest:.3g}" if total else "–",
        _number(cell.error) + _times(cell.error_ratio) if compared(cell.results) else "–",
        (f"{growth.exponent:.2f}" + _times(growth.ratio)) if growth else "–",
        cell.worst or "–",
        cell.status,
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}" if value < 1000 else f"{value:.1e}"


def _times(ratio: float) -> str:
    return "" if math.isnan(ratio) else f" ({'∞' if math.isinf(ratio) else _number(ratio)}×)"


def sentence(result: Result, outcome: Outcome) -> str:
    """An outcome in words: where, and by how much."""
    job = result.job
    where = job.subject.name + (f", {job.backend}" if job.backend != "-" else "")
    return f"{where}, {job.dtype}, against {result.against}: scenario {outcome.scenario}: {outcome.reason}"


def failures(results: Sequence[Result]) -> list[str]:
    """Every failing outcome, in words."""
    return [sentence(result, outcome) for result in results for outcome in result.failures]


def stale_sentence(entry: Explained) -> str:
    """Of an explanation whose difference no longer shows."""
    return (
        f"the explanation for {entry.case}, scenario {entry.scenario}, in {', '.join(entry.dtypes)} on "
        f"{', '.join(entry.backends)} is stale: no such difference shows any more; remove it from explained.py"
    )


def counts(results: Sequence[Result]) -> Counter[str]:
    """How many outcomes there are of each verdict."""
    return Counter(outcome.verdict for result in results for outcome in result.outcomes)


def silence(results: Sequence[Result]) -> str:
    """Of a run that compared nothing: that, and why."""
    reasons = dict.fromkeys(f"{o.verdict}: {o.reason}" for result in results for o in result.outcomes)
    return f"Nothing was compared, so nothing is known. {_shortened(list(reasons), 3, '; ')}"


def compared(results: Sequence[Result]) -> bool:
    """Whether anything was held against anything, so that the absence of failures says something."""
    return not COMPARED.isdisjoint(counts(results))


def passed(results: Sequence[Result], stale: Sequence[Explained]) -> bool:
    """Whether something was compared, nothing failed and no explanation is stale."""
    return compared(results) and not stale and not any(result.failures for result in results)


def distances(found: Sequence[Cell]) -> Histogram:
    """Of all cells together."""
    return sum((cell.histogram for cell in found), Histogram())


def as_json(results: Sequence[Result], stale: Sequence[Explained], seconds: float, workers: int) -> dict[str, Any]:
    """Everything that was found, as plain values: infinities are "inf" and "-inf", and what was not measured is None.

    A histogram's numbers belong to ``histogram_edges``, the upper ends of its bins in ulps. ``error`` is None where
    bits were compared, and ``reference_error`` also where the reference is float64 itself.
    """
    made: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(seconds, 1),
        "workers": workers,
        "counts": dict(counts(results)),
        "passed": passed(results, stale),
        "failures": failures(results),
        "stale": [stale_sentence(entry) for entry in stale],
        "histogram_edges": [_value(edge) for edge in EDGES],
        "cells": [_cell(cell) for cell in cells(results)],
    }
    return made


def _cell(cell: Cell) -> dict[str, Any]:
    growth = cell.growth
    return {
        "optimizer": cell.optimizer,
        "backend": cell.backend,
        "dtype": cell.dtype,
        "against": cell.against,
        "verdict": cell.status,
        "histogram": list(cell.histogram.counts),
        "max_ulp": _value(cell.histogram.largest),
        "error": _value(cell.error) if compared(cell.results) else None,
        "error_ratio": _value(cell.error_ratio) if compared(cell.results) else None,
        "growth": growth
        and {**_plain(asdict(growth)), "exponent": _value(growth.exponent), "ratio": _value(growth.ratio)},
        "worst": cell.worst,
        "cases": [
            {
                "case": result.job.subject.name,
                "seconds": round(result.seconds, 2),
                "error": _value(result.error) if compared([result]) else None,
                "reference_error": _value(result.reference_error) if compared([result]) else None,
                "outcomes": [_outcome(result, outcome) for outcome in result.outcomes],
            }
            for result in cell.results
        ],
    }


def _outcome(result: Result, outcome: Outcome) -> dict[str, Any]:
    numbers = sum(outcome.histogram.counts) > 0
    bounded = numbers and not _exact(result)
    found: dict[str, Any] = {
        "scenario": outcome.scenario,
        "verdict": outcome.verdict,
        "histogram": list(outcome.histogram.counts),
        "max_ulp": _value(outcome.histogram.largest) if numbers else None,
        "error": _value(outcome.error) if bounded else None,
        "reference_error": _value(outcome.reference_error) if bounded and result.against != "float64" else None,
    }
    if outcome.reason:
        found["reason"] = outcome.reason
    if outcome.explanation:
        found["explanation"] = outcome.explanation
    if outcome.difference is not None:
        found["difference"] = _plain(asdict(outcome.difference))
    return found


def _exact(result: Result) -> bool:
    """Whether the result's numbers were compared bit by bit, which measures no distance from float64."""
    job = result.job
    return isinstance(job.subject, OurCase) and job.subject.trial(job.backend, job.dtype, job.device).exact


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> Any:
    """JSON has neither infinities, NaN nor complex numbers.

    An infinite distance is a finding, and must not look like a NaN, which says that there is none.
    """
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_value(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def page(results: Sequence[Result], stale: Sequence[Explained]) -> str:
    """The table in Markdown, with every cell explained."""
    found, tally = cells(results), counts(results)
    header = ["optimizer", "backend", "dtype", "against", *(title for title, _ in COLUMNS)]
    rows = [[f"`{c.optimizer}`", c.backend, c.dtype, c.against, *figures(c)] for c in found]
    lines = [
        "# Parity, cell by cell",
        "",
        "Written by `TRITON_INTERPRET=1 python -m torchopt_notes parity --markdown docs/parity-table.md`. How to read",
        "it, and what each reference is good for: [parity.md](parity.md); what the scenarios and the units are:",
        "[parity-reference.md](parity-reference.md).",
        "",
        f"torch {torch.__version__.split('+')[0]}: {len(found)} cells, {len(results)} cases in them, "
        f"{len(SCENARIOS)} scenarios, {sum(tally.values()):,} outcomes: "
        + ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tally.items(), key=lambda item: -item[1]))
        + ".",
        "",
        *(f"- **{title}**: {about}." for title, about in COLUMNS),
        "",
        SAME_RULE,
        "",
        *_table(header, rows),
        "",
        "## What is not the same, and why",
        "",
        *_reasons(results, "failed"),
        *[f"- {stale_sentence(entry)}" for entry in stale],
        *_reasons(results, "explained"),
        "",
        "## What says nothing, and why",
        "",
        *_reasons(results, "refused"),
        *_reasons(results, "skipped"),
    ]
    return "\n".join(lines) + "\n"


def _reasons(results: Sequence[Result], verdict: str) -> list[str]:
    """One item for each reason, with where it holds."""
    where: dict[str, list[tuple[str, str]]] = {}
    for result in results:
        job = result.job
        for outcome in (outcome for outcome in result.outcomes if outcome.verdict == verdict):
            reason = outcome.explanation or outcome.reason
            cell = f"{job.subject.name}{f' {job.backend}' if job.backend != '-' else ''} {job.dtype}"
            where.setdefault(reason, []).append((outcome.scenario, cell))
    return [
        f"- **{verdict}**, {', '.join(dict.fromkeys(scenario for scenario, _ in places))}: {reason.rstrip('.')}. "
        f"({_shortened(list(dict.fromkeys(cell for _, cell in places)))})"
        for reason, places in where.items()
    ]


def _shortened(names: Sequence[str], most: int = 12, between: str = ", ") -> str:
    if len(names) <= most:
        return between.join(names)
    return f"{between.join(names[: most - 1])} and {len(names) - most + 1} more"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
