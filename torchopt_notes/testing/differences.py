"""Where two tensors differ, and whether that is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from ..engine.layout import real
from .contest import Pair
from .oracle import Bounds, same
from .tolerances import TOLERANCES
from .ulp import ulp_distance


@dataclass(frozen=True)
class Difference:
    """Where two runs differ.

    Attributes:
        step: counted from 1.
        tensor: ``params[i]`` or ``state[i]['name']``.
        element: the index of the element that differs most.
        actual, expected: the candidate's value and the reference's.
        ulp: their distance, in ulps of the candidate's dtype.
        absolute: their distance.
        units: the candidate's distance from float64 in the oracle's units, if those bound the comparison.
    """

    step: int
    tensor: str
    element: tuple[int, ...]
    actual: complex | float
    expected: complex | float
    ulp: float
    absolute: float
    units: float | None = None

    def __str__(self) -> str:
        units = "" if self.units is None else f", {self.units:g} units from float64"
        return (
            f"step {self.step}, {self.tensor}{list(self.element)}: got {self.actual!r}, expected {self.expected!r} "
            f"({self.ulp:g} ulp, {self.absolute:g} absolute{units})"
        )


class ParityError(AssertionError):
    """The candidate is not what the reference is.

    ``difference`` says where first; it is None if the two keep different state tensors, or one raises.
    """

    def __init__(self, message: str, difference: Difference | None = None) -> None:
        super().__init__(message)
        self.difference = difference


def check(step: int, pair: Pair, units: float) -> float:
    """The distance that was accepted: 0 for equal bits, else in the oracle's units.

    Raises:
        ParityError: if the pair is farther apart than it may be.
    """
    actual, expected = pair.actual, pair.expected
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ParityError(
            f"step {step}, {pair.name}: got {actual.dtype} of shape {tuple(actual.shape)}, "
            f"expected {expected.dtype} of shape {tuple(expected.shape)}"
        )
    if pair.bounds is not None:
        return _check_bounds(step, pair, pair.bounds, units)
    if actual.numel():
        distance = ulp_distance(actual, expected.to(actual.device))
        if distance.max() > 0:
            _fail(step, pair, distance, None, "equal bits are asked for")
    return 0.0


def _check_bounds(step: int, pair: Pair, bounds: Bounds, units: float) -> float:
    # Where the reference itself is farther away, the candidate may be as far, but no farther. Of a reference that is
    # infinitely far nothing follows.
    actual, expected = pair.actual, pair.expected
    allowed = units * TOLERANCES[actual.dtype].oracle_factor
    theirs = bounds.distance(expected)
    limit = torch.where(theirs.isfinite(), theirs, 0.0).clamp_min(allowed)
    distance = bounds.distance(actual)
    right = bounds.contain(actual, limit) | same(real(actual), real(expected))
    if not right.all():
        exact = torch.view_as_complex(bounds.exact) if actual.is_complex() else bounds.exact
        # Where one of the two is NaN there is no distance; it is as wrong as can be.
        beyond = torch.where(right, 0.0, distance.nan_to_num(nan=torch.inf))
        worst = Pair(pair.name, actual, exact, None)
        _fail(step, worst, beyond, distance, f"at most {units:g} units from float64 are allowed")
    return float(distance.max())


def _fail(step: int, pair: Pair, beyond: Tensor, units: Tensor | None, demand: str) -> NoReturn:
    ulps = ulp_distance(pair.actual, pair.expected.to(pair.actual.device))
    if pair.actual.is_complex():
        beyond, ulps = beyond.amax(dim=-1), ulps.amax(dim=-1)
        units = None if units is None else units.amax(dim=-1)
    element = tuple(int(i) for i in torch.unravel_index(beyond.argmax(), pair.actual.shape))
    got, wanted = pair.actual[element].item(), pair.expected[element].item()
    difference = Difference(
        *(step, pair.name, element, got, wanted, float(ulps[element]), abs(got - wanted)),
        None if units is None else float(units[element]),
    )
    raise ParityError(f"{difference}; {demand}", difference)
