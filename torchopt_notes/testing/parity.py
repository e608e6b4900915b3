"""``assert_parity``: two optimizers, the same parameters and gradients, compared after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from ..engine.layout import real
from .oracle import Bounds, Factory, Inputs, same, step_bounds
from .ulp import ulp_distance

Gradients: TypeAlias = Callable[[int, int, Tensor, torch.Generator], Tensor | None]
"""``(step, index, param, generator) -> gradient``; None leaves the parameter without one."""

SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (63,), (100,), (17, 31), (2, 3, 4, 5), (0,), (1025,))
"""Awkward on purpose: no size is a multiple of a vector or a block."""


FP64 = (torch.float64, torch.complex128)


@dataclass(frozen=True)
class Difference:
    """Where two runs differ.

    Attributes:
        step: counted from 1.
        tensor: ``params[i]`` or ``state[i]['name']``.
        element: the index of the element that differs most.
        actual, expected: the candidate's value and the reference's.
        ulp: their distance in ulps, or in the oracle's units when those bound the comparison.
        absolute: their distance.
    """

    step: int
    tensor: str
    element: tuple[int, ...]
    actual: complex | float
    expected: complex | float
    ulp: float
    absolute: float

    def __str__(self) -> str:
        return (
            f"step {self.step}, {self.tensor}{list(self.element)}: got {self.actual!r}, expected {self.expected!r} "
            f"({self.ulp:g} ulp, {self.absolute:g} absolute)"
        )


class ParityError(AssertionError):
    """The candidate is not what the reference is.

    ``difference`` says where first; it is None if the two keep different state tensors.
    """

    def __init__(self, message: str, difference: Difference | None = None) -> None:
        super().__init__(message)
        self.difference = difference


@dataclass(frozen=True)
class ParityReport:
    """What a passing comparison found: how many steps and tensors, and the largest distance that was accepted."""

    steps: int
    tensors: int
    max_ulp: float


def random_gradients(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    """Normally distributed gradients."""
    return torch.randn(param.shape, dtype=param.dtype, device=param.device, generator=generator)


def assert_parity(
    candidate: Factory,
    reference: Factory,
    *,
    kwargs: Mapping[str, Any] | None = None,
    candidate_kwargs: Mapping[str, Any] | None = None,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    steps: int = 10,
    seed: int = 0,
    ulp: float = 0,
    gradients: Gradients = random_gradients,
    lr_schedule: Callable[[int], float] | None = None,
) -> ParityReport:
    """Raises unless ``candidate`` does what ``reference`` does, after every step, in every parameter and state tensor.

    Both are built on equal parameters and get equal gradients. Missing and additional state tensors count as
    differences.

    Args:
        candidate, reference: optimizer classes, or callables that take a list of parameters and the keyword arguments.
        kwargs: arguments for both.
        candidate_kwargs: arguments for the candidate alone, such as ``{"backend": "compiled"}``.
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

    Returns:
        What was compared.

    Raises:
        ParityError: naming the first step and tensor that differ, and the element that differs most.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import assert_parity
        >>> report = assert_parity(torchopt_notes.AdamW, torch.optim.AdamW, kwargs={"lr": 1e-2})
        >>> report.steps, report.max_ulp
        (10, 0.0)
    """
    generator = torch.Generator(device).manual_seed(seed)
    initial = [torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes]
    ours = [torch.nn.Parameter(value.clone()) for value in initial]
    theirs = [torch.nn.Parameter(value.clone()) for value in initial]
    ours_optimizer = candidate(ours, **{**(kwargs or {}), **(candidate_kwargs or {})})
    their_optimizer = reference(theirs, **(kwargs or {}))
    tensors, largest = 0, 0.0
    for step in range(1, steps + 1):
        if lr_schedule is not None:
            for group in (*ours_optimizer.param_groups, *their_optimizer.param_groups):
                group["lr"] = lr_schedule(step)
        for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            gradient = gradients(step, i, their, generator)
            our.grad = None if gradient is None else gradient.clone()
            their.grad = gradient
        bounds = _bounds(reference, kwargs or {}, their_optimizer, theirs) if ulp else {}
        ours_optimizer.step()
        their_optimizer.step()
        pairs = _pairs(step, ours, theirs, ours_optimizer, their_optimizer)
        for name, actual, expected in pairs:
            if name in bounds:
                largest = max(largest, _check_bounds(step, name, actual, expected, bounds[name], ulp))
            else:
                _check_equal(step, name, actual, expected)
        tensors += len(pairs)
        if ulp:
            with torch.no_grad():
                for _, actual, expected in pairs:
                    actual.copy_(expected)
    return ParityReport(steps, tensors, largest)


def _bounds(
    reference: Factory, kwargs: Mapping[str, Any], optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]
) -> dict[str, Bounds]:
    """The oracle's bounds for every tensor of the coming step, by the names that reports use."""
    bounds = {}
    options = {id(param): group for group in optimizer.param_groups for param in group["params"]}
    for i, param in enumerate(params):
        if param.grad is None or param.numel() == 0:
            continue
        state = optimizer.state.get(param, {})
        found = step_bounds(reference, kwargs, Inputs(param, param.grad, state, options[id(param)]))
        bounds[f"params[{i}]"] = found.pop("param")
        bounds |= {f"state[{i}][{name!r}]": bound for name, bound in found.items()}
    return bounds


def _pairs(
    step: int,
    ours: list[torch.nn.Parameter],
    theirs: list[torch.nn.Parameter],
    ours_optimizer: torch.optim.Optimizer,
    their_optimizer: torch.optim.Optimizer,
) -> list[tuple[str, Tensor, Tensor]]:
    pairs: list[tuple[str, Tensor, Tensor]] = []
    for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        pairs.append((f"params[{i}]", our.detach(), their.detach()))
        # Not indexed blindly: both states are defaultdicts.
        our_state = ours_optimizer.state.get(our, {})
        their_state = their_optimizer.state.get(their, {})
        if our_state.keys() != their_state.keys():
            raise ParityError(
                f"step {step}, state[{i}]: the candidate keeps {sorted(our_state)}, the reference {sorted(their_state)}"
            )
        pairs += [
            (f"state[{i}][{name!r}]", our_state[name], value)
            for name, value in their_state.items()
            if isinstance(value, Tensor)
        ]
    return pairs


def _check_equal(step: int, name: str, actual: Tensor, expected: Tensor) -> None:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ParityError(
            f"step {step}, {name}: got {actual.dtype} of shape {tuple(actual.shape)}, "
            f"expected {expected.dtype} of shape {tuple(expected.shape)}"
        )
    if actual.numel() == 0:
        return
    distance = ulp_distance(actual, expected.to(actual.device))
    if distance.max() > 0:
        _fail(step, name, actual, expected, distance, "equal bits are asked for")


def _check_bounds(step: int, name: str, actual: Tensor, expected: Tensor, bounds: Bounds, ulp: float) -> float:
    # Where the reference itself is farther away, the candidate may be as far, but no farther. In fp64 the oracle is no
    # more exact than either of them: its own roundings come on top.
    limit = bounds.distance(expected).clamp_min(2 * ulp if actual.dtype in FP64 else ulp)
    distance = bounds.distance(actual)
    if not (bounds.contain(actual, limit) | same(real(actual), real(expected))).all():
        exact = torch.view_as_complex(bounds.exact) if actual.is_complex() else bounds.exact
        _fail(
            step,
            name,
            actual,
            exact,
            torch.where(distance > limit, distance, 0),
            f"at most {ulp:g} units from float64 are allowed",
        )
    return float(distance.max())


def _fail(step: int, name: str, actual: Tensor, expected: Tensor, distance: Tensor, demand: str) -> NoReturn:
    if actual.is_complex():
        distance = distance.amax(dim=-1)
    element = tuple(int(i) for i in torch.unravel_index(distance.argmax(), actual.shape))
    got, wanted = actual[element].item(), expected[element].item()
    difference = Difference(step, name, element, got, wanted, float(distance[element]), abs(got - wanted))
    raise ParityError(f"{difference}; {demand}", difference)
