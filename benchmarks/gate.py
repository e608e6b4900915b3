"""Whether a contestant is right, asked before it is timed: a wrong result is no fast one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.contestants import OURS, Contestant, UnavailableError
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing import CASES, compare

SCENARIOS = ("no-empty-shapes", "longer")
"""Sizes that no vector divides, and thirty steps."""

FAST = {"cpu": "compiled", "cuda": "triton"}
OTHERS = 8
"""By how much more another package's roundings may add up than this one's: it computes the same in another order."""

DECAY = 1e-2
"""What part of a parameter a step's weight decay takes in the examination of other packages. At the decays that are
timed, one that is left out would be lost in the roundings that they are allowed."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        right: whether the numbers are those of the reference.
        reason: if not, where they first are not.
    """

    right: bool
    reason: str = ""


def examine(
    contestant: Contestant, optimizer: str, hyper: Mapping[str, Any], device: str, dtype: torch.dtype
) -> Verdict:
    """Compares the parameters after each step with torch's, or with the eager reference where torch has none.

    This package's must keep within the roundings that are derived for the rule (``docs/parity-reference.md``), with
    states; other packages' states are their own affair.

    Raises:
        UnavailableError: if the contestant cannot run here.
    """
    own = contestant.distribution == OURS.distribution
    if not own and "weight_decay" in hyper:
        hyper = {**hyper, "weight_decay": DECAY / hyper["lr"]}
    make = contestant.maker(optimizer, hyper, device)
    if contestant.yardstick:
        return Verdict(True)  # torch's own, in torch's own words
    ours = optimizers()[optimizer]
    eager = functools.partial(ours, **hyper, backend="eager")
    reference: Any = eager if ours.counterpart is None else functools.partial(ours.counterpart, **hyper)
    units = float(max(case.units for case in CASES if case.optimizer is ours))
    if not own:
        units = OTHERS * units + _bias_correction(hyper)
    # Left to itself, this package would choose the eager backend for tensors as small as these.
    chosen = {"backend": FAST[device]} if contestant is OURS else {}
    for outcome in compare(
        functools.partial(make, **chosen),
        reference,
        scenarios=SCENARIOS,
        dtype=dtype,
        device=device,
        ulp=units,
        states=own,
        oracle=eager,
    ):
        if "the candidate raises" in outcome.reason and not own:
            raise UnavailableError(outcome.reason)
        if outcome.verdict != "same":
            return Verdict(False, f"scenario {outcome.scenario}: {outcome.reason}")
    return Verdict(True)


def _bias_correction(hyper: Mapping[str, Any]) -> float:
    """What it costs to work out 1 - βᵗ in the precision of the parameters, as others do (torch under ``torch.compile``
    too): all digits but those of 1 - β, in units of the whole update. A wrong formula is many times farther away."""
    return 1 / (1 - max(hyper["betas"])) if "betas" in hyper else 0.0
