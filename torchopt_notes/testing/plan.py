"""Which comparisons the survey makes by default: those that a CI machine of two cores does in five minutes.

========  ======================  ==============================================================================
backend   dtype                   cases, scenarios
========  ======================  ==============================================================================
eager     fp32                    every case, all scenarios
eager     bf16, fp16, fp64,       the first case of each optimizer, all scenarios
          complex64
compiled  fp32, bf16              the first case of each optimizer, all scenarios
triton    fp32, bf16              the first case of each optimizer; on a GPU all scenarios, under Triton's interpreter
                                  fp32 alone and the scenarios in :data:`INTERPRETED`, which takes minutes more
========  ======================  ==============================================================================

The first case of each optimizer also has its error's growth measured, over 1,000 steps (not under the interpreter).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

import torch

from ..engine.backends import Backend, interpreted, unavailable
from ..optim.registry import optimizers
from .cases import Case
from .matrix import BACKENDS, FP32, hole, needs_sparse
from .scenarios import find_scenarios
from .survey import Job
from .trials import DTYPES, SURVEYED, OurCase, ThirdParty

GROWTH_STEPS = 1000

DEFAULT_DTYPES: Mapping[Backend, tuple[str, ...]] = MappingProxyType(
    {
        "eager": tuple(DTYPES),
        "compiled": ("fp32", "bf16"),
        "triton": ("fp32", "bf16"),
    }
)
INTERPRETED = ("shapes", "non-contiguous", "missing-gradients", "groups", "schedule", "checkpoint", "switch")
"""The scenarios for interpreted kernels, which take a thousand times as long: one of each thing a launch looks at."""


def missing_backends(device: str) -> dict[Backend, str]:
    """The backends that cannot run on this machine, and why."""
    reasons = {backend: unavailable(backend, torch.device(device)) for backend in BACKENDS}
    return {backend: reason for backend, reason in reasons.items() if reason is not None}


def plan(
    optimizer: str = "*",
    backends: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    scenarios: Sequence[str] | None = None,
    device: str = "cpu",
    *,
    every_case: bool = False,
) -> list[Job]:
    """The survey's jobs for optimizers of this package, the longest first.

    Args:
        optimizer: a pattern of the lower-case names of classes or cases.
        backends: names. Default: all that can run here.
        dtypes: names in :data:`.DTYPES`. Default: as the table above says for each backend.
        scenarios: names, with wildcards. Default: as the table says.
        device: of the parameters.
        every_case: every case in each cell, rather than the table's.

    Raises:
        ValueError: for a name that there is not, a backend that cannot run, or if nothing is left; the message says
            what there is.

    Example:
        >>> [(job.subject.name, job.dtype) for job in plan("lion*", ["eager"], ["fp32"])]
        [('lion', 'fp32'), ('lion-coupled', 'fp32'), ('lion-maximize', 'fp32')]
    """
    missing = missing_backends(device)
    chosen = _known("backend", backends, BACKENDS) if backends else [name for name in BACKENDS if name not in missing]
    if wrong := [backend for backend in chosen if backend in missing]:
        raise ValueError(f"backend {wrong[0]} cannot run here: {missing[wrong[0]]}")
    named = _known("dtype", dtypes, tuple(DTYPES)) if dtypes else None
    cases = _cases(optimizer)
    if scenarios is not None:
        find_scenarios(scenarios)
    jobs = []
    for backend in reversed(chosen):
        for dtype in named or (("fp32",) if _slow(backend) else DEFAULT_DTYPES[backend]):
            takers = [
                case for case in cases if case.takes(DTYPES[dtype]) and hole(case.optimizer, backend, FP32) is None
            ]
            first = {case.optimizer: case for case in reversed(takers)}
            every = every_case or (backend, dtype) == ("eager", "fp32")
            jobs += [
                _job(case, backend, dtype, device, scenarios, first=case is first[case.optimizer])
                for case in takers
                if every or case is first[case.optimizer]
            ]
    if not jobs:
        raise ValueError(f"{optimizer!r} takes none of the dtypes {', '.join(named or DTYPES)} on {', '.join(chosen)}")
    return jobs


def plan_third_party(
    subject: ThirdParty, dtypes: Sequence[str] | None, scenarios: Sequence[str] | None, device: str = "cpu"
) -> list[Job]:
    """The survey's jobs for somebody else's optimizer: fp32 and fp64, unless told otherwise.

    Raises:
        ValueError: for a name that there is not, or what :meth:`.ThirdParty.trial` refuses.
    """
    subject.trial()
    found = find_scenarios("*" if scenarios is None else scenarios)
    named = _known("dtype", dtypes, tuple(DTYPES)) if dtypes else ["fp32", "fp64"]
    names = tuple(scenario.name for scenario in found)
    return [Job(subject, "-", dtype, device, names, 0 if scenarios else GROWTH_STEPS) for dtype in named]


def _job(case: Case, backend: Backend, dtype: str, device: str, scenarios: Sequence[str] | None, *, first: bool) -> Job:
    names = tuple(scenarios) if scenarios is not None else INTERPRETED if _slow(backend) else ("*",)
    grows = first and not _slow(backend) and scenarios is None and not needs_sparse(case.optimizer)
    growth = GROWTH_STEPS if grows else 0
    return Job(OurCase(case.name), backend, dtype, device, names, growth)


def _slow(backend: str) -> bool:
    return backend == "triton" and interpreted()


def _cases(pattern: str) -> list[Case]:
    wanted = pattern.lower()
    found = [
        case
        for case in SURVEYED
        if fnmatchcase(case.name, wanted) or fnmatchcase(case.optimizer.__name__.lower(), wanted)
    ]
    if not found:
        names = [name for name, cls in optimizers().items() if any(case.optimizer is cls for case in SURVEYED)]
        raise ValueError(f"no optimizer is called {pattern!r}; there are {', '.join(names)}")
    return found


def _known(what: str, names: Sequence[str], known: Sequence[str]) -> list[Backend]:
    for name in names:
        if name not in known:
            raise ValueError(f"no {what} is called {name!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]  # type: ignore[misc]
