"""``error_growth``: does the distance from float64 grow as a run goes on, and faster than the reference's?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..engine.layout import real
from .contest import Float64, Reference
from .oracle import WIDE, Factory
from .request import checked
from .scenarios import Gradients, random_gradients

MARKS = (1, 3, 10, 30, 100, 300, 1000)

RATIO_LIMIT = 2.0
"""How many times the reference's error is as good. A rounding more in each step, where the reference has one, makes √2
of it; the norms of n = 257 independent errors differ by 1/√n from each other, four times which is a quarter: 1.77.
"""

BIAS_LIMIT = 4.0
"""Standard deviations by which an error may lie farther along the path: more is no chance, in 16,000 comparisons."""


def drifting_gradients(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    """Normally distributed around 1 or, in every other element, -1: the parameters go somewhere, and a bias adds up."""
    signs = torch.ones(param.numel(), dtype=param.dtype, device=param.device)
    signs[1::2] = -1
    return random_gradients(step, index, param, generator) + signs.reshape(param.shape)


@dataclass(frozen=True)
class Growth:
    r"""Distances of the parameters from a float64 run with the same gradients: :math:`\|p - p_{64}\| / \|p_{64}\|`.

    Attributes:
        steps: where they were measured.
        errors: the candidate's.
        reference_errors: the reference's; empty without one.
        bias: by how much more of the path than the reference the candidate runs ahead or behind, in standard deviations
            of errors without a direction (see :func:`_bias`). 0 without a reference.
    """

    steps: tuple[int, ...]
    errors: tuple[float, ...]
    reference_errors: tuple[float, ...]
    bias: float = 0.0

    @property
    def problem(self) -> str:
        """What is wrong with it, next to the reference's, or an empty string.

        A bias is wrong where the error is larger than the reference's, by more than its third digit: bf16 loses steps
        that are too small for it, which is a bias, of both. Without a reference only an error that is no number is
        wrong: how far roundings may carry a run depends on the rule.
        """
        last = f"after {self.steps[-1]:,} steps"
        if not math.isfinite(self.errors[-1]):
            return f"{last} the distance from float64 is {self.errors[-1]}"
        if self.reference_errors and not self.ratio <= RATIO_LIMIT:
            return f"{last} the error is {self.ratio:.3g} times the reference's, {RATIO_LIMIT:g} are right"
        if self.bias > BIAS_LIMIT and self.ratio > 1.001:
            return (
                f"{last} the error lies farther along the path than the reference's, by {self.bias:.3g} standard "
                f"deviations, {BIAS_LIMIT:g} are right: a factor of the step is biased"
            )
        return ""

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
    gradients: Gradients = drifting_gradients,
) -> Growth:
    """Runs candidate, reference and the oracle in float64 side by side, each from its own numbers.

    Arguments as for :func:`.compare`. Gradients do not depend on the parameters, so that distances come from roundings
    and not from runs that part. By default they lead somewhere, which makes a bias add up.

    Raises:
        TypeError, ValueError, Exception: as :func:`.compare`, and for less than one step or an empty shape.

    Example:
        >>> import torch, torchopt_notes
        >>> from torchopt_notes.testing import error_growth
        >>> growth = error_growth(torchopt_notes.AdamW, torch.optim.AdamW, steps=30)
        >>> growth.steps, growth.ratio
        ((1, 3, 10, 30), 1.0)
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if 0 in shape:
        raise ValueError(f"shape must hold a number at least, got {tuple(shape)}")
    setting = checked(
        *(candidate, reference),
        kwargs=kwargs,
        candidate_kwargs=candidate_kwargs,
        dtype=dtype,
        device=device,
        seed=seed,
        ulp=1,
    )
    own = {**setting.kwargs, **setting.candidate_kwargs}
    generator = torch.Generator(device).manual_seed(seed)
    start = torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)
    runs = [_Run(candidate, own, start)]
    if isinstance(reference, Float64):
        truth = _Run(oracle or candidate, setting.kwargs if oracle else own, start.to(WIDE[dtype]))
    else:
        runs.append(_Run(reference, setting.kwargs, start))
        truth = _Run(oracle or reference, setting.kwargs, start.to(WIDE[dtype]))
    measured: list[tuple[int, list[float]]] = []
    for step in range(1, steps + 1):
        gradient = gradients(step, 0, start, generator)
        for run in (*runs, truth):
            run.step(gradient)
        if step in MARKS or step == steps:
            measured.append((step, [run.distance(truth) for run in runs]))
    bias = 0.0
    if len(runs) > 1:
        bias = _bias(runs[0].wide - truth.wide, runs[1].wide - truth.wide, truth.wide - start)
    columns = list(zip(*(errors for _, errors in measured), strict=True))
    return Growth(tuple(step for step, _ in measured), columns[0], columns[1] if len(columns) > 1 else (), bias)


def _bias(error: Tensor, reference_error: Tensor, path: Tensor) -> float:
    r"""How much more of the path :math:`d` the error :math:`e` is than the reference's :math:`r`.

    An error has the slope :math:`s_e = \langle e, d \rangle / \|d\|^2`: what a factor of the step is off by. The rest
    :math:`e - s_e d` is what roundings left; n of those, each with a direction of its own, have by chance a slope of
    :math:`\|e - s_e d\| / (\sqrt n \, \|d\|)`. The difference :math:`|s_e| - |s_r|` is measured in the root of the sum
    of both chances' squares.
    """
    length = float(path.norm())
    if not 0 < length < math.inf:
        return 0.0
    slopes, chances = [], []
    for one in (error, reference_error):
        slopes.append(float((one * path.conj()).sum().real) / length**2)
        chances.append(float((one - slopes[-1] * path).norm()) / length / math.sqrt(real(path).numel()))
    more, chance = abs(slopes[0]) - abs(slopes[1]), math.hypot(*chances)
    return more / chance if chance else math.copysign(math.inf, more) if more else 0.0


class _Run:
    def __init__(self, factory: Factory, kwargs: Mapping[str, Any], start: Tensor) -> None:
        self.param = torch.nn.Parameter(start.clone())
        self.optimizer: Optimizer = factory([self.param], **kwargs)

    def step(self, gradient: Tensor | None) -> None:
        self.param.grad = None if gradient is None else gradient.to(self.param.dtype, copy=True)
        self.optimizer.step()

    @property
    def wide(self) -> Tensor:
        return self.param.detach().to(WIDE[self.param.dtype])

    def distance(self, truth: _Run) -> float:
        return float((self.wide - truth.wide).norm() / truth.wide.norm())
