"""``assert_parity``: two optimizers, the same parameters and gradients, compared after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .contest import DifferentStatesError, Reference, RefusedError, Setting, contest
from .differences import ParityError, check
from .oracle import Factory
from .scenarios import SHAPES, Gradients, Scenario, find_scenarios, of_shapes, random_gradients


@dataclass(frozen=True)
class ParityReport:
    """What a passing comparison found: how many steps and tensors, and the largest distance that was accepted."""

    steps: int
    tensors: int
    max_ulp: float


def assert_parity(
    candidate: Factory,
    reference: Reference,
    *,
    kwargs: Mapping[str, Any] | None = None,
    candidate_kwargs: Mapping[str, Any] | None = None,
    scenarios: str | Sequence[str] | None = None,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    steps: int = 10,
    seed: int = 0,
    ulp: float = 0,
    gradients: Gradients = random_gradients,
    lr_schedule: Callable[[int], float] | None = None,
    states: bool = True,
) -> ParityReport:
    """Raises unless ``candidate`` does what ``reference`` does, after every step, in every parameter and state tensor.

    Both are built on equal parameters and get equal gradients. Missing and additional state tensors count as
    differences.

    Args:
        candidate: an optimizer class, or a callable that takes a list of parameters and the keyword arguments.
        reference: the same, or ``FLOAT64``: the candidate's own rule on float64 inputs, in every step from the
            candidate's numbers. Then ``ulp`` must be greater than 0.
        kwargs: arguments for both.
        candidate_kwargs: arguments for the candidate alone, such as ``{"backend": "compiled"}``.
        scenarios: names of scenarios (:data:`.SCENARIOS`), with wildcards: ``"*"`` for all. Default: one that
            ``shapes``, ``gradients``, ``steps`` and ``lr_schedule`` describe, which must be left alone otherwise.
        shapes: of the parameters.
        dtype, device: of the parameters.
        steps: how many to take.
        seed: of parameters and gradients.
        ulp: 0 asks for equal bits (but for the sign of a zero). Otherwise the candidate must be, after every step,
            what rounding a number within this many units of the reference's float64 result gives, or at least no
            farther from it than the reference is; a unit is what one rounding of the result and of each input
            explains (see :mod:`.oracle`). The candidate then continues from the reference's numbers.
        gradients: what each step's gradients are.
        lr_schedule: the learning rate of each step, counted from 1.
        states: whether states are compared too. Without them the candidate keeps its own as it goes on, with the
            roundings of all steps in them, so that step t may be t times ``ulp`` units from float64.

    Returns:
        What was compared, in all scenarios together.

    Raises:
        ParityError: naming the first scenario, step and tensor that differ, and the element that differs most.
        ValueError: for a scenario that there is not, or ``FLOAT64`` with equal bits.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import assert_parity
        >>> report = assert_parity(torchopt_notes.AdamW, torch.optim.AdamW, kwargs={"lr": 1e-2})
        >>> report.steps, report.max_ulp
        (10, 0.0)
        >>> assert_parity(torchopt_notes.AdamW, torch.optim.AdamW, scenarios=["groups", "checkpoint"]).steps
        10
    """
    if not callable(reference) and not ulp:
        raise ValueError("assert_parity: no rounded result equals float64's; say how far it may be, such as ulp=2")
    custom = Scenario(
        "custom",
        "what the arguments describe",
        of_shapes(*shapes),
        gradients,
        lr=None if lr_schedule is None else lambda step, first: lr_schedule(step),
        steps=steps,
    )
    chosen = (custom,) if scenarios is None else find_scenarios(scenarios)
    setting = Setting(
        *(candidate, reference, kwargs or {}, candidate_kwargs or {}),
        *(dtype, torch.device(device), seed),
        bounded=ulp > 0,
        states=states,
    )
    reports = [run(scenario, setting, ulp) for scenario in chosen if not meaningless(scenario, setting)]
    return ParityReport(
        sum(report.steps for report in reports),
        sum(report.tensors for report in reports),
        max((report.max_ulp for report in reports), default=0.0),
    )


def run(scenario: Scenario, setting: Setting, units: float) -> ParityReport:
    """One scenario."""
    steps, tensors, largest = 0, 0, 0.0
    where = "" if scenario.name == "custom" else f"scenario {scenario.name}: "
    try:
        for step, pairs in contest(scenario, setting):
            largest = max(largest, *(check(step, pair, setting.limit(units, step)) for pair in pairs))
            steps, tensors = step, tensors + len(pairs)
    except RefusedError as refused:
        if scenario.name == "custom":
            raise (refused.by_candidate or refused.by_reference or refused) from None
        if not excused(refused, scenario):
            raise ParityError(f"{where}the candidate raises {refused.by_candidate!r}") from refused
    except DifferentStatesError as error:
        raise ParityError(f"{where}{error}") from None
    except ParityError as error:
        raise ParityError(f"{where}{error}", error.difference) from None
    return ParityReport(steps, tensors, largest)


def meaningless(scenario: Scenario, setting: Setting) -> str:
    """Why a scenario says nothing in a setting, or an empty string."""
    if setting.dtype.is_complex and not scenario.complex_too:
        return "no complex counterpart"
    return "float64 does not underflow" if scenario.underflows and not callable(setting.reference) else ""


def excused(refused: RefusedError, scenario: Scenario) -> bool:
    """Whether an exception is no difference: the reference raises too, or nobody need take sparse gradients.

    Both must raise the same type, unless the candidate's words say that it is sparse gradients that it does not take.
    """
    ours, theirs = refused.by_candidate, refused.by_reference
    return ours is None or type(ours) is type(theirs) or (scenario.sparse and "sparse" in str(ours))
