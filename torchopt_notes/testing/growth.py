"""``error_growth``: does the distance from float64 grow as a run goes on, and faster than the reference's?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .contest import Reference
from .oracle import WIDE, Factory
from .scenarios import Gradients, random_gradients

MARKS = (1, 3, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Growth:
    r"""Distances of the parameters from a float64 run with the same gradients: :math:`\|p - p_{64}\| / \|p_{64}\|`.

    Attributes:
        steps: where they were measured.
        errors: the candidate's.
        reference_errors: the reference's; empty without one.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]
    reference_errors: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """The slope of log error against log step: 0.5 for roundings that are as often up as down, 1 for a bias."""
        points = [
            (math.log(step), math.log(error)) for step, error in zip(self.steps, self.errors, strict=True) if error
        ]
        if len(points) < 2:
            return 0.0
        middle, level = (sum(values) / len(points) for values in zip(*points, strict=True))
        rise = sum((x - middle) * (y - level) for x, y in points)
        return float(rise / sum((x - middle) ** 2 for x, _ in points))

    @property
    def ratio(self) -> float:
        """The candidate's last error over the reference's; 1 if both are 0."""
        if not self.reference_errors:
            return math.nan
        ours, theirs = self.errors[-1], self.reference_errors[-1]
        return ours / theirs if theirs else (1.0 if ours == 0 else math.inf)


def error_growth(
    candidate: Factory,
    reference: Reference,
    *,
    kwargs: Mapping[str, Any] | None = None,
    candidate_kwargs: Mapping[str, Any] | None = None,
    oracle: Factory | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    steps: int = 1000,
    shape: Sequence[int] = (257,),
    seed: int = 0,
    gradients: Gradients = random_gradients,
) -> Growth:
    """Runs candidate, reference and the oracle in float64 side by side, each from its own numbers.

    Arguments as for :func:`.compare`. Gradients do not depend on the parameters, so that distances come from roundings
    and not from runs that part.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import error_growth
        >>> growth = error_growth(torchopt_notes.AdamW, torch.optim.AdamW, steps=30)
        >>> growth.steps, growth.ratio
        ((1, 3, 10, 30), 1.0)
    """
    generator = torch.Generator(device).manual_seed(seed)
    start = torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)
    exact = oracle or (reference if callable(reference) else candidate)
    runs = [_Run(candidate, {**(kwargs or {}), **(candidate_kwargs or {})}, start)]
    if callable(reference):
        runs.append(_Run(reference, kwargs or {}, start))
    truth = _Run(exact, kwargs or {}, start.to(WIDE[dtype]))
    measured: list[tuple[int, list[float]]] = []
    for step in range(1, steps + 1):
        gradient = gradients(step, 0, start, generator)
        for run in (*runs, truth):
            run.step(gradient)
        if step in MARKS or step == steps:
            measured.append((step, [run.distance(truth) for run in runs]))
    columns = list(zip(*(errors for _, errors in measured), strict=True))
    return Growth(tuple(step for step, _ in measured), columns[0], columns[1] if len(columns) > 1 else ())


class _Run:
    def __init__(self, factory: Factory, kwargs: Mapping[str, Any], start: Tensor) -> None:
        self.param = torch.nn.Parameter(start.clone())
        self.optimizer: Optimizer = factory([self.param], **kwargs)

    def step(self, gradient: Tensor | None) -> None:
        self.param.grad = None if gradient is None else gradient.to(self.param.dtype, copy=True)
        self.optimizer.step()

    def distance(self, truth: _Run) -> float:
        wide = self.param.detach().to(truth.param.dtype)
        return float((wide - truth.param.detach()).norm() / truth.param.detach().norm())
