"""``compare``: what :func:`.assert_parity` finds, as figures instead of an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .contest import DifferentStatesError, Pair, Reference, RefusedError, Setting, contest
from .differences import Difference, ParityError, check
from .oracle import Factory
from .parity import excused, meaningless
from .request import checked
from .scenarios import Scenario, find_scenarios
from .ulp import ulp_distance

EDGES = (0.0, 1.0, 2.0, 4.0, 16.0, 256.0, 65536.0, torch.inf)
"""The upper ends of a histogram's bins, in ulps."""

Verdict = Literal["same", "failed", "explained", "refused", "skipped"]


def share(part: float) -> str:
    """A percentage that says 100 of nothing less than all, and 0 of nothing more than none."""
    return "100 %" if part == 1 else "< 0.01 %" if 0 < part < 1e-4 else f"{min(100 * part, 99.99):.2f} %"


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How many numbers are how far from the reference's, in ulps of their dtype.

    Attributes:
        counts: for each of :data:`EDGES`, the numbers that are no farther, but farther than the edge before.
        largest: the largest distance.
    """

    counts: tuple[int, ...] = (0,) * len(EDGES)
    largest: float = 0.0

    def __add__(self, other: Histogram) -> Histogram:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(counts, max(self.largest, other.largest))

    def __str__(self) -> str:
        total = sum(self.counts)
        parts = [
            f"{'equal' if edge == 0 else f'≤ {edge:g}' if edge < torch.inf else 'farther'}: {share(count / total)}"
            for edge, count in zip(EDGES, self.counts, strict=True)
            if count
        ]
        return ", ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one scenario showed.

    Attributes:
        scenario: its name.
        verdict: ``"same"``; ``"failed"``; ``"refused"``, both raise alike, or sparse gradients are not taken;
            ``"skipped"``, the reference raises, or the scenario has no meaning for the dtype. The survey turns a
            failure that is meant (:mod:`.explained`) into ``"explained"``.
        reason: of another verdict than "same": what was found.
        explanation: of the verdict "explained": why that is meant.
        difference: the first one, if it failed by a number.
        histogram: distances from the reference's numbers, or from float64's rounded ones without a reference.
        error: the largest distance from float64, in the oracle's units; 0 where bits were compared.
        reference_error: the reference's.
    """

    scenario: str
    verdict: Verdict
    reason: str = ""
    explanation: str = ""
    difference: Difference | None = None
    histogram: Histogram = Histogram()
    error: float = 0.0
    reference_error: float = 0.0


def compare(
    candidate: Factory,
    reference: Reference,
    *,
    kwargs: Mapping[str, Any] | None = None,
    candidate_kwargs: Mapping[str, Any] | None = None,
    scenarios: str | Sequence[str] = "*",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
    ulp: float = 2,
    states: bool = True,
    oracle: Factory | None = None,
) -> list[Outcome]:
    """Puts two optimizers through scenarios and reports on each.

    Arguments as for :func:`.assert_parity`, and:

    Args:
        oracle: what the float64 result is worked out with. Default: the reference; without one, the candidate.

    Raises:
        TypeError, ValueError, Exception: as :func:`.assert_parity` for a request that compares nothing.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import compare
        >>> outcome, = compare(torchopt_notes.AdamW, torch.optim.AdamW, scenarios="schedule", ulp=0)
        >>> outcome.verdict, str(outcome.histogram)
        ('same', 'equal: 100 %')
    """
    setting = checked(
        *(candidate, reference),
        kwargs=kwargs,
        candidate_kwargs=candidate_kwargs,
        dtype=dtype,
        device=device,
        seed=seed,
        ulp=ulp,
        states=states,
        oracle=oracle,
    )
    return [_outcome(scenario, setting, ulp) for scenario in find_scenarios(scenarios)]


def _outcome(scenario: Scenario, setting: Setting, units: float) -> Outcome:
    if reason := meaningless(scenario, setting):
        return Outcome(scenario.name, "skipped", reason)
    found = Outcome(scenario.name, "same")
    failure: ParityError | None = None
    try:
        for step, pairs in contest(scenario, setting):
            for pair in pairs:
                found = _with(found, pair)
                try:
                    check(step, pair, setting.limit(units, step))
                except ParityError as error:
                    failure = failure or error
            if failure is not None:
                break
    except RefusedError as refused:
        if not excused(refused, scenario):
            return dataclasses.replace(found, verdict="failed", reason=f"the candidate raises {refused.by_candidate!r}")
        verdict: Verdict = "skipped" if refused.by_candidate is None else "refused"
        reason = str(refused.by_reference or refused.by_candidate)
        return dataclasses.replace(found, verdict=verdict, reason=reason)
    except DifferentStatesError as error:
        return dataclasses.replace(found, verdict="failed", reason=str(error))
    if failure is None:
        return found
    return dataclasses.replace(found, verdict="failed", reason=str(failure), difference=failure.difference)


def _with(found: Outcome, pair: Pair) -> Outcome:
    if pair.actual.numel() == 0 or pair.actual.shape != pair.expected.shape:
        return found
    histogram = found.histogram + histogram_of(pair.actual, pair.expected)
    if pair.bounds is None:
        return dataclasses.replace(found, histogram=histogram)
    return dataclasses.replace(
        found,
        histogram=histogram,
        error=max(found.error, _largest(pair.bounds.distance(pair.actual))),
        reference_error=max(found.reference_error, _largest(pair.bounds.distance(pair.expected.to(pair.actual.dtype)))),
    )


def _largest(distance: Tensor) -> float:
    """Leaving out NaN: where the exact result is none, there is no distance."""
    return float(distance.nan_to_num(nan=0.0, posinf=torch.inf).max())


def histogram_of(actual: Tensor, expected: Tensor) -> Histogram:
    """How far the numbers of a tensor are from another's, in ulps of the first."""
    distance = ulp_distance(actual, expected.to(actual)).flatten()
    edges = torch.tensor(EDGES, dtype=distance.dtype, device=distance.device)
    bins = torch.bucketize(distance, edges)
    return Histogram(tuple(torch.bincount(bins, minlength=len(EDGES)).tolist()), float(distance.max()))
