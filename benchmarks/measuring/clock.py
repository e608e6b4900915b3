"""Timing in turns, so that a machine that slows down slows everybody."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch


def _nothing() -> None:
    """Before a step that needs no preparation."""


@dataclass(frozen=True)
class Step:
    """What is timed, and what is done before it each time without being timed."""

    run: Callable[[], object]
    before: Callable[[], object] = _nothing

    def __call__(self) -> None:
        """Both."""
        self.before()
        self.run()


WARM_UP = 2
FEWEST = 5
"""Rounds, however slow: what a median needs."""

SLEEP_CYCLES_PER_SECOND = 2e9
"""Of a GPU's clock, at most: a sleep is meant to last at least as long as the host takes."""

LONGEST_SLEEP = 0.5
"""Seconds, whatever the host takes."""


@dataclass(frozen=True)
class Samples:
    """Seconds of one call each.

    Attributes:
        device: what the device took. On the CPU the same as ``host``.
        host: until the call returned.
    """

    device: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the device's seconds."""
        return statistics.median(self.device)


def take_turns(
    contestants: Mapping[str, Sequence[Step]], rounds: int, device: str, budget: float = math.inf
) -> dict[str, Samples]:
    """Times every contestant in every round, in an order that turns around from round to round.

    Args:
        contestants: for each, the same step on several sets of tensors, which take turns as well: a set that still
            lies in the cache is no honest input.
        rounds: how many samples of each.
        device: where the step's work is done.
        budget: seconds for all rounds together: where steps are slow there are fewer, but never less than
            ``FEWEST``.
    """
    timed = on_cuda if device == "cuda" else on_host
    for _ in range(WARM_UP):
        expected = 0.0
        for steps in contestants.values():
            for step in steps:
                began = time.perf_counter()
                step()
                if device == "cuda":
                    torch.cuda.synchronize()
                expected += (time.perf_counter() - began) / len(steps)
    rounds = min(rounds, max(int(min(budget / expected, rounds)), FEWEST))
    samples = {name: Samples() for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            steps = contestants[name]
            on_device, on_host_ = timed(steps[turn % len(steps)])
            samples[name].device.append(on_device)
            samples[name].host.append(on_host_)
    return samples


def on_host(step: Step) -> tuple[float, float]:
    """One call's seconds, twice."""
    step.before()
    start = time.perf_counter()
    step.run()
    seconds = time.perf_counter() - start
    return seconds, seconds


def on_cuda(step: Step) -> tuple[float, float]:
    """One call's seconds on the device, and another's on the host.

    Before the first the device sleeps while the host enqueues the work, so that a host that is slow to launch does not
    show in the device's time. A step that reads from the device waits for that sleep to end, and shows its gaps, as it
    should; the host's time, which would contain the sleep, is that of a call without one.
    """
    step.before()
    torch.cuda.synchronize()
    began = time.perf_counter()
    step.run()
    host = time.perf_counter() - began
    _recent_host_times.append(host)
    del _recent_host_times[:-8]
    step.before()
    torch.cuda.synchronize()
    start, end = _event(), _event()
    torch.cuda._sleep(int(_expected_host_time() * SLEEP_CYCLES_PER_SECOND))  # type: ignore[no-untyped-call]
    start.record()
    step.run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3, host


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


_recent_host_times: list[float] = []


def _expected_host_time() -> float:
    return min(2 * max(_recent_host_times, default=1e-3), LONGEST_SLEEP)


def ratio(samples: Mapping[str, Samples], of: str, to: str) -> float:
    """How many times the seconds of ``to`` those of ``of`` are: the median of the rounds' own ratios."""
    pairs = zip(samples[to].device, samples[of].device, strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)
