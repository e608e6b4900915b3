"""A survey's results in words, as JSON and as a page in Markdown."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch

from .comparison import Outcome
from .explained import Explained
from .scenarios import SCENARIOS
from .survey import Cell, Result, cells


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
    ("verdict", "same; explained, where a difference is meant; failed"),
)


def figures(cell: Cell) -> Figures:
    """What a cell's row says."""
    histogram, growth = cell.histogram, cell.growth
    total = sum(histogram.counts)
    return Figures(
        share(histogram.counts[0] / total) if total else "–",
        f"{histogram.largest:.3g}" if total else "–",
        _number(cell.error) + _times(cell.error_ratio),
        (f"{growth.exponent:.2f}" + _times(growth.ratio)) if growth else "–",
        cell.worst or "–",
        cell.status,
    )


def share(part: float) -> str:
    """A percentage that says 100 of nothing less than all."""
    return "100 %" if part == 1 else f"{min(100 * part, 99.99):.2f} %"


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


def as_json(results: Sequence[Result], stale: Sequence[Explained], seconds: float, workers: int) -> dict[str, Any]:
    """Everything that was found, as plain values; what is not finite is None."""
    made: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(seconds, 1),
        "workers": workers,
        "counts": dict(counts(results)),
        "passed": not stale and not failures(results),
        "failures": failures(results),
        "stale": [stale_sentence(entry) for entry in stale],
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
        "max_ulp": _finite(cell.histogram.largest),
        "error": _finite(cell.error),
        "error_ratio": _finite(cell.error_ratio),
        "growth": growth and {**_plain(asdict(growth)), "exponent": growth.exponent, "ratio": _finite(growth.ratio)},
        "worst": cell.worst,
        "cases": [
            {
                "case": result.job.subject.name,
                "seconds": round(result.seconds, 2),
                "outcomes": [_outcome(outcome) for outcome in result.outcomes],
            }
            for result in cell.results
        ],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {"scenario": outcome.scenario, "verdict": outcome.verdict}
    if outcome.reason:
        found["reason"] = outcome.reason
    if outcome.explanation:
        found["explanation"] = outcome.explanation
    if outcome.difference is not None:
        found["difference"] = _plain(asdict(outcome.difference))
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: Any) -> Any:
    """JSON has neither infinities, NaN nor complex numbers."""
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:11])} and {len(names) - 11} more"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
