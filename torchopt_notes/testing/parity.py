"""``assert_parity``: two optimizers, the same parameters and gradients, compared after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .contest import DifferentStatesError, Reference, RefusedError, Setting, contest
from .differences import ParityError, check
from .oracle import Factory
from .request import checked
from .scenarios import SHAPES, Gradients, Scenario, find_scenarios, of_shapes, random_gradients


@dataclass(frozen=True)
class ParityReport:
    """What a passing comparison found.

    Attributes:
        steps, tensors: how many were compared.
        max_units: the largest distance from float64, in the oracle's units; 0 where bits were compared.
    """

    steps: int
    tensors: int
    max_units: float


def assert_parity(
    candidate: Factory,
    reference: Reference,
    *,
    kwargs: Mapping[str, Any] | None = None,
    candidate_kwargs: Mapping[str, Any] | None = None,
    scenarios: str | Sequence[str] | None = None,
    shapes: Sequence[tuple[int, ...]] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    steps: int | None = None,
    seed: int = 0,
    ulp: float = 0,
    gradients: Gradients | None = None,
    lr_schedule: Callable[[int], float] | None = None,
    states: bool = True,
) -> ParityReport:
    """Raises unless ``candidate`` does what ``reference`` does, after every step, in every parameter and state tensor.

    Both are built on equal parameters and get equal gradients. Missing and additional states count as differences.
    Numbers in a state are compared as the tensors that they could be.

    Args:
        candidate: an optimizer class, or a callable that takes a list of parameters and the keyword arguments.
        reference: the same, or ``FLOAT64``: the candidate's own rule on float64 inputs, in every step from the
            candidate's numbers. Then ``ulp`` must be greater than 0.
        kwargs: arguments for both.
        candidate_kwargs: arguments for the candidate alone, such as ``{"backend": "compiled"}``.
        scenarios: names of scenarios (:data:`.SCENARIOS`), with wildcards: ``"*"`` for all. Default: one that
            ``shapes``, ``gradients``, ``steps`` and ``lr_schedule`` describe, which must be left alone otherwise.
        shapes: of the parameters. Default: 0-d, empty, and sizes that no vector divides.
        dtype, device: of the parameters.
        steps: how many to take. Default: 10.
        seed: of parameters and gradients.
        ulp: 0 asks for equal bits (but for the sign of a zero). Otherwise the candidate must be, after every step,
            what rounding a number within this many units of the reference's float64 result gives, or at least no
            farther from it than the reference is; a unit is what one rounding of the result and of each input
            explains (see :mod:`.oracle`). The candidate then continues from the reference's numbers.
        gradients: what each step's gradients are. Default: normally distributed.
        lr_schedule: the learning rate of each step, counted from 1.
        states: whether states are compared too. Without them the candidate keeps its own as it goes on, with the
            roundings of all steps in them, so that step t may be t times ``ulp`` units from float64.

    Returns:
        What was compared, in all scenarios together.

    Raises:
        ParityError: naming the first scenario, step and tensor that differ, and the element that differs most; or if
            nothing could be compared, because both raise in every scenario.
        TypeError, ValueError: for a request that compares nothing: a reference that is no optimizer, a scenario that
            there is not, ``FLOAT64`` with equal bits.
        Exception: what candidate or reference raise when they are constructed.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import assert_parity
        >>> report = assert_parity(torchopt_notes.AdamW, torch.optim.AdamW, kwargs={"lr": 1e-2})
        >>> report.steps, report.max_units
        (10, 0.0)
        >>> assert_parity(torchopt_notes.AdamW, torch.optim.AdamW, scenarios=["groups", "checkpoint"]).steps
        10
    """
    own = {"shapes": shapes, "gradients": gradients, "steps": steps, "lr_schedule": lr_schedule}
    if scenarios is None:
        chosen: tuple[Scenario, ...] = (_custom(shapes, gradients, steps, lr_schedule),)
    else:
        if ignored := [name for name, value in own.items() if value is not None]:
            raise ValueError(f"{', '.join(ignored)} cannot be given with scenarios, which bring their own")
        chosen = find_scenarios(scenarios)
    setting = checked(
        *(candidate, reference),
        kwargs=kwargs,
        candidate_kwargs=candidate_kwargs,
        dtype=dtype,
        device=device,
        seed=seed,
        ulp=ulp,
        states=states,
    )
    reports, silent = [], []
    for scenario in chosen:
        report, reason = _run(scenario, setting, ulp)
        reports.append(report)
        silent.append(f"{scenario.name}: {reason}")
    if not any(report.tensors for report in reports):
        raise ParityError(f"nothing was compared; {'; '.join(silent)}")
    return ParityReport(
        sum(report.steps for report in reports),
        sum(report.tensors for report in reports),
        max(report.max_units for report in reports),
    )


def _custom(
    shapes: Sequence[tuple[int, ...]] | None,
    gradients: Gradients | None,
    steps: int | None,
    lr_schedule: Callable[[int], float] | None,
) -> Scenario:
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if shapes is not None and not shapes:
        raise ValueError("shapes must have at least one shape, such as [(3, 4)]")
    return Scenario(
        "custom",
        "what the arguments describe",
        of_shapes(*(SHAPES if shapes is None else shapes)),
        gradients or random_gradients,
        lr=None if lr_schedule is None else lambda step, first: lr_schedule(step),
        steps=10 if steps is None else steps,
    )


def _run(scenario: Scenario, setting: Setting, units: float) -> tuple[ParityReport, str]:
    """One scenario, and why it compared nothing, if so."""
    reason = meaningless(scenario, setting)
    if reason:
        return ParityReport(0, 0, 0.0), reason
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
        reason = f"raises {refused.by_reference or refused.by_candidate!r}"
    except DifferentStatesError as error:
        raise ParityError(f"{where}{error}") from None
    except ParityError as error:
        raise ParityError(f"{where}{error}", error.difference) from None
    return ParityReport(steps, tensors, largest), reason


def meaningless(scenario: Scenario, setting: Setting) -> str:
    """Why a scenario says nothing in a setting, or an empty string."""
    if setting.dtype.is_complex and not scenario.complex_too:
        return "no complex counterpart"
    if "switch" in scenario.events.values() and setting.home in (None, "eager"):
        return "no other backend to switch to"
    return "float64 does not underflow" if scenario.underflows and not callable(setting.reference) else ""


def excused(refused: RefusedError, scenario: Scenario) -> bool:
    """Whether an exception is no difference: the reference raises too, or nobody need take sparse gradients.

    Both must raise the same type, unless the candidate's words say that it is sparse gradients that it does not take.
    """
    ours, theirs = refused.by_candidate, refused.by_reference
    return ours is None or type(ours) is type(theirs) or (scenario.sparse and "sparse" in str(ours).lower())
