"""Every optimizer × backend × dtype put through the scenarios: what to run, running it, and what came out."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Literal

import torch

from .comparison import Histogram, Outcome, compare
from .explained import EXPLAINED, Explained, explanation
from .growth import Growth, drifting_gradients, error_growth
from .matrix import BACKENDS
from .scenarios import SCENARIOS, find_scenarios
from .trials import DTYPES, SURVEYED, OurCase, Subject, Trial

Status = Literal["same", "explained", "failed", "nothing compared"]

UNDERFLOW = frozenset(scenario.name for scenario in SCENARIOS if scenario.underflows)
"""Where float64's distance says nothing."""

MEASURED = ("shapes", "mixed-gradients", "longer")
"""The scenarios that say how far from float64 a result is, where the comparison itself is one of bits."""


@dataclass(frozen=True)
class Job:
    """One subject on one backend in one dtype.

    Attributes:
        subject: what is compared.
        backend: of ours; ``"-"`` for a third party's.
        dtype: a name in :data:`.DTYPES`.
        device: of the parameters.
        scenarios: names, with wildcards.
        growth_steps: over how many steps the error's growth is measured; 0 for not.
    """

    subject: Subject
    backend: str
    dtype: str
    device: str = "cpu"
    scenarios: tuple[str, ...] = ("*",)
    growth_steps: int = 0


@dataclass(frozen=True)
class Result:
    """What a job found.

    Attributes:
        against: the reference's name.
        outcomes: of the scenarios, in their order, and where it was measured of one more named "growth", unless there
            is no reference to hold it against; a difference that is meant has the verdict "explained".
        error, reference_error: the largest distances from float64, in units; NaN where none was measured.
        growth: of the error over many steps, if asked for.
        seconds: what it took.
    """

    job: Job
    against: str
    outcomes: tuple[Outcome, ...]
    error: float = math.nan
    reference_error: float = math.nan
    growth: Growth | None = None
    seconds: float = 0.0

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes that failed."""
        return [outcome for outcome in self.outcomes if outcome.verdict == "failed"]


@dataclass(frozen=True)
class Cell:
    """All results of one optimizer on one backend in one dtype."""

    optimizer: str
    backend: str
    dtype: str
    results: tuple[Result, ...]

    @property
    def against(self) -> str:
        """The references' names."""
        return ", ".join(dict.fromkeys(result.against for result in self.results))

    @property
    def histogram(self) -> Histogram:
        """Of all numbers that were compared and are not explained."""
        return sum((o.histogram for _, o in self.outcomes if o.verdict != "explained"), Histogram())

    @property
    def outcomes(self) -> list[tuple[Result, Outcome]]:
        """All outcomes, each with where it comes from."""
        return [(result, outcome) for result in self.results for outcome in result.outcomes]

    @property
    def error(self) -> float:
        """The largest distance from float64, in units."""
        return _largest(result.error for result in self.results)

    @property
    def error_ratio(self) -> float:
        """That, over the reference's, in the cases that have one; NaN without."""
        both = [result for result in self.results if not math.isnan(result.reference_error)]
        ours = _largest(result.error for result in both)
        theirs = _largest(result.reference_error for result in both)
        return 1.0 if ours == theirs else ours / theirs if theirs else math.inf

    @property
    def growth(self) -> Growth | None:
        """Of the one case for which it was measured."""
        return next((result.growth for result in self.results if result.growth is not None), None)

    @property
    def worst(self) -> str:
        """The scenario with the largest distance, and its case where the cell has several."""
        shown = [(r, o) for r, o in self.outcomes if o.verdict != "explained" and (o.error or o.histogram.largest)]
        if not shown:
            return ""
        result, outcome = max(shown, key=lambda pair: (pair[1].verdict == "failed", *_size(pair[1])))
        return outcome.scenario if len(self.results) == 1 else f"{outcome.scenario} ({result.job.subject.name})"

    @property
    def status(self) -> Status:
        """Failed if anything did, else explained if anything is, else the same if anything is."""
        verdicts = {outcome.verdict for _, outcome in self.outcomes}
        found: tuple[Status, ...] = ("failed", "explained", "same")
        return next((status for status in found if status in verdicts), "nothing compared")


def _size(outcome: Outcome) -> tuple[float, float]:
    return (0.0 if outcome.scenario in UNDERFLOW else outcome.error, outcome.histogram.largest)


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def run(job: Job) -> Result:
    """Does one job."""
    started = time.perf_counter()
    trial = job.subject.trial(job.backend, job.dtype, job.device)
    outcomes = _compare(trial, job, 0 if trial.exact else trial.units, job.scenarios)
    measured = outcomes
    if trial.exact:
        names = [scenario.name for scenario in find_scenarios(job.scenarios) if scenario.name in MEASURED]
        measured = _compare(trial, job, trial.units, names) if names and job.growth_steps else []
    said = [outcome for outcome in measured if outcome.scenario not in UNDERFLOW]
    growth = None
    if job.growth_steps and job.dtype != "fp64":  # there the oracle is no more exact than what it judges
        growth = error_growth(
            *(trial.candidate, trial.reference),
            kwargs=trial.kwargs,
            candidate_kwargs=trial.candidate_kwargs,
            oracle=trial.oracle,
            dtype=DTYPES[job.dtype],
            device=job.device,
            steps=job.growth_steps,
            gradients=drifting_gradients,
        )
        if growth.problem or growth.reference_errors:
            outcomes = [*outcomes, Outcome("growth", "failed" if growth.problem else "same", growth.problem)]
    return Result(
        job,
        trial.against,
        tuple(_explained(job, outcome) for outcome in outcomes),
        _largest(outcome.error for outcome in said),
        _largest(outcome.reference_error for outcome in said) if callable(trial.reference) else math.nan,
        growth,
        time.perf_counter() - started,
    )


def _compare(trial: Trial, job: Job, ulp: float, scenarios: Sequence[str]) -> list[Outcome]:
    return compare(
        *(trial.candidate, trial.reference),
        kwargs=trial.kwargs,
        candidate_kwargs=trial.candidate_kwargs,
        scenarios=scenarios,
        dtype=DTYPES[job.dtype],
        device=job.device,
        ulp=ulp,
        states=trial.states,
        oracle=trial.oracle,
    )


def _explained(job: Job, outcome: Outcome) -> Outcome:
    if outcome.verdict != "failed" or not isinstance(job.subject, OurCase):
        return outcome
    reason = explanation(job.subject.name, job.backend, job.dtype, outcome.scenario)
    return outcome if reason is None else replace(outcome, verdict="explained", explanation=reason)


def run_all(jobs: Sequence[Job], workers: int, done: Callable[[Result], None] = lambda result: None) -> list[Result]:
    """Does all jobs, in the order in which they are given.

    Args:
        jobs: what to do; the longest first leave the least to wait for.
        workers: processes of one thread each; 0 for none but this one.
        done: called with each result as it comes.

    Whatever a job raises, or a process that dies, is a failure of that job and no end of the others.
    """
    found: dict[int, Result] = {}
    for index, result in _results(jobs, workers):
        found[index] = result
        done(result)
    return [found[index] for index in range(len(jobs))]


def _results(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Result]]:
    if workers == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # tensors this small are slower on several, as other processes know too
        try:
            yield from ((index, _guarded(job)) for index, job in enumerate(jobs))
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")  # a fork after torch has started its threads may hang
    with ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(_guarded, job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                index, error = futures[future], future.exception()
                yield index, future.result() if error is None else _broken(jobs[index], error)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _guarded(job: Job) -> Result:
    try:
        return run(job)
    except Exception as error:  # a comparison that cannot be made is what the survey has to report
        return _broken(job, error)


def _broken(job: Job, error: BaseException) -> Result:
    return Result(job, "?", (Outcome("all", "failed", f"the comparison itself raised {error!r}"),))


def cells(results: Sequence[Result]) -> list[Cell]:
    """The results by optimizer, backend and dtype, in the order of :data:`.SURVEYED`, backends and dtypes."""
    grouped: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        key = (result.job.subject.optimizer, result.job.backend, result.job.dtype)
        grouped.setdefault(key, []).append(result)
    found = [Cell(*key, tuple(members)) for key, members in grouped.items()]
    order: tuple[list[str], ...] = ([case.optimizer.__name__ for case in SURVEYED], [*BACKENDS], [*DTYPES])

    def place(cell: Cell) -> list[int]:
        names = (cell.optimizer, cell.backend, cell.dtype)
        return [known.index(name) if name in known else -1 for known, name in zip(order, names, strict=True)]

    return sorted(found, key=place)


def stale(results: Sequence[Result], entries: Sequence[Explained] = EXPLAINED) -> list[Explained]:
    """The explanations of differences that could have shown in these results, and did not."""
    return [entry for entry in entries if (shown := list(_shown(entry, results))) and not any(shown)]


def _shown(entry: Explained, results: Sequence[Result]) -> Iterator[bool]:
    for result in results:
        job = result.job
        for outcome in result.outcomes:
            if entry.covers(job.subject.name, job.backend, job.dtype, outcome.scenario):
                yield outcome.verdict in ("explained", "failed")
