"""What a comparison puts two optimizers through: named situations of parameters, gradients and a run's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from .tolerances import TOLERANCES

Gradients: TypeAlias = Callable[[int, int, Tensor, torch.Generator], Tensor | None]
"""``(step, index, param, generator) -> gradient``; None leaves the parameter without one."""

Event: TypeAlias = Literal["checkpoint", "switch"]
"""Before a step: saved and loaded into new optimizers, or that and the candidate goes on with another backend."""

SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (63,), (100,), (17, 31), (2, 3, 4, 5), (0,), (1025,))
"""Awkward on purpose: no size is a multiple of a vector or a block."""

FEW: tuple[tuple[int, ...], ...] = ((33,), (5, 7))


@dataclass(frozen=True)
class Source:
    """Where a scenario's numbers come from: the same ones for each contestant."""

    dtype: torch.dtype
    device: torch.device
    generator: torch.Generator

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Normally distributed numbers."""
        return torch.randn(tuple(shape), dtype=self.dtype, device=self.device, generator=self.generator)


def random_gradients(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    """Normally distributed gradients."""
    return torch.randn(param.shape, dtype=param.dtype, device=param.device, generator=generator)


def _few(source: Source) -> list[Tensor]:
    return [source.normal(shape) for shape in FEW]


@dataclass(frozen=True)
class Scenario:
    """One situation.

    Attributes:
        name: for reports and test ids.
        about: what is special about it, in a few words.
        params: makes the parameters' first values, with their layout.
        gradients: what each step's gradients are.
        lr: the learning rate of a step, from the step, counted from 1, and the rate that a group began with.
        grouped: whether each parameter has a group of its own, with its own lr and, if both contestants' groups have
            one, weight decay.
        steps: how many to take.
        events: what happens before a step.
        sparse: whether gradients are sparse. Nobody need take those; who does not must say so.
        underflows: whether products underflow. float64 has room for them, so that it says nothing about the rule then.
        complex_too: whether it has a meaning for complex parameters.
    """

    name: str
    about: str
    params: Callable[[Source], list[Tensor]] = _few
    gradients: Gradients = random_gradients
    lr: Callable[[int, float], float] | None = None
    grouped: bool = False
    steps: int = 5
    events: Mapping[int, Event] = field(default_factory=dict)
    sparse: bool = False
    underflows: bool = False
    complex_too: bool = True


def of_shapes(*shapes: tuple[int, ...]) -> Callable[[Source], list[Tensor]]:
    """Contiguous parameters."""
    return lambda source: [source.normal(shape) for shape in shapes]


def _non_contiguous(source: Source) -> list[Tensor]:
    return [source.normal((7, 5)).t(), source.normal((40,))[::2], source.normal((3, 4, 5)).permute(2, 0, 1)]


def _channels_last(source: Source) -> list[Tensor]:
    return [source.normal((2, 3, 4, 5)).to(memory_format=torch.channels_last)]


def _views(source: Source) -> list[Tensor]:
    flat = source.normal((100,))
    return [flat[1:34], flat[35:70].view(5, 7)]


def _missing(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor | None:
    gradient = random_gradients(step, index, param, generator)
    return None if (step + index) % 3 == 0 else gradient


def _late(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor | None:
    gradient = random_gradients(step, index, param, generator)
    return None if index == 0 and step < 3 else gradient


def _never(step: int, index: int, param: Tensor, generator: torch.Generator) -> None:
    return None


def _zero(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros_like(param)


def _sparse(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    rows = torch.tensor([[0, 3, 3, (step * 2) % param.shape[0]]], device=param.device)
    values = torch.randn((4, *param.shape[1:]), dtype=param.dtype, device=param.device, generator=generator)
    return torch.sparse_coo_tensor(rows, values, param.shape, check_invariants=True)


def _strided(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    doubled = torch.randn((*param.shape, 2), dtype=param.dtype, device=param.device, generator=generator)
    return doubled[..., 0]


def _scaled(factor: Callable[[torch.dtype], float]) -> Gradients:
    def gradients(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
        return random_gradients(step, index, param, generator) * factor(param.dtype)

    return gradients


def _huge(dtype: torch.dtype) -> float:
    """Two limits come near without being passed: that of squares where they are stored, and, where a rule is computed,
    that of the product of two squares, which Adafactor forms. The margins are for numbers around 1, and for sums."""
    stored, computed = torch.finfo(dtype).max, torch.finfo(TOLERANCES[dtype].compute).max
    return float(min(stored**0.5 / 2.5, computed**0.25 / 43))


def _tiny(dtype: torch.dtype) -> float:
    """Squares come near the smallest normal number that is stored, and within 10⁶ of that which a rule computes with:
    a weighted mean of them is normal still."""
    stored, computed = torch.finfo(dtype).smallest_normal, torch.finfo(TOLERANCES[dtype].compute).smallest_normal
    return float(max(stored**0.5, 1e3 * computed**0.5))


def _denormal(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).smallest_normal / 8


def _mixed_sizes(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    gradient = random_gradients(step, index, param, generator)
    scale = torch.logspace(-4, 3, max(param.numel(), 1), dtype=torch.float64, device=param.device)
    return gradient * scale[: param.numel()].reshape(param.shape).to(gradient.real.dtype)


def _not_finite(step: int, index: int, param: Tensor, generator: torch.Generator) -> Tensor:
    gradient = random_gradients(step, index, param, generator)
    if step == 2:
        gradient.flatten()[:3] = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=param.dtype)
    return gradient


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("shapes", "0-d, empty, and sizes that no vector divides", of_shapes(*SHAPES)),
    Scenario("no-empty-shapes", "the same without an empty tensor", of_shapes(*(s for s in SHAPES if 0 not in s))),
    Scenario("non-contiguous", "transposed, strided and permuted parameters", _non_contiguous),
    Scenario("channels-last", "a parameter in memory format channels_last", _channels_last),
    Scenario("views", "views into one buffer, not aligned to 16 bytes", _views),
    Scenario("aspect-ratios", "one row or one column", of_shapes((1, 2049), (2049, 1))),
    Scenario("many", "60 small parameters", of_shapes(*[(1 + i % 7,) for i in range(60)]), steps=3),
    Scenario("strided-gradients", "gradients that are not contiguous", gradients=_strided),
    Scenario("missing-gradients", "each step another third has no gradient", gradients=_missing, steps=7),
    Scenario("late-gradients", "a parameter whose first gradient comes in step 3", gradients=_late),
    Scenario("no-gradients", "no parameter has a gradient", gradients=_never, steps=2),
    Scenario("zero-gradients", "gradients of zero", gradients=_zero, steps=3),
    Scenario("sparse-gradients", "sparse gradients with a row named twice", of_shapes((9, 3)), _sparse, sparse=True),
    Scenario("huge-gradients", "products of squares near the largest number", gradients=_scaled(_huge)),
    Scenario("tiny-gradients", "squares near the smallest normal number", gradients=_scaled(_tiny)),
    Scenario(
        "denormal-gradients",
        "gradients below the smallest normal number",
        gradients=_scaled(_denormal),
        underflows=True,
    ),
    Scenario("mixed-gradients", "gradients over seven orders of magnitude", gradients=_mixed_sizes),
    Scenario("not-finite", "inf, -inf and NaN in the second step", gradients=_not_finite, complex_too=False),
    Scenario(
        "groups", "a group per parameter, with its own lr and decay", of_shapes((33,), (5, 7), (3,)), grouped=True
    ),
    Scenario("schedule", "another lr in each step, zero once", lr=lambda step, base: base * (step - 3) ** 2 / 4),
    Scenario("checkpoint", "saved and loaded in the middle", events={3: "checkpoint"}),
    Scenario("switch", "another backend from the middle on, and back", events={3: "switch", 5: "switch"}, steps=6),
    Scenario("longer", "30 steps", steps=30),
)


def find_scenarios(patterns: Sequence[str] | str = "*") -> tuple[Scenario, ...]:
    """The scenarios whose names match one of the patterns (``*``, ``?``, ``[...]``).

    Raises:
        ValueError: for a pattern that matches none, or no pattern; the message lists all names.

    >>> [scenario.name for scenario in find_scenarios(["*-gradients", "switch"])][-2:]
    ['mixed-gradients', 'switch']
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        raise ValueError(f"name at least one scenario; there are {', '.join(one.name for one in SCENARIOS)}")
    for pattern in wanted:
        if not any(fnmatchcase(scenario.name, pattern) for scenario in SCENARIOS):
            raise ValueError(
                f"no scenario is called {pattern!r}; there are {', '.join(scenario.name for scenario in SCENARIOS)}"
            )
    return tuple(one for one in SCENARIOS if any(fnmatchcase(one.name, pattern) for pattern in wanted))


def group_options(count: int) -> list[dict[str, Any]]:
    """What tells the groups of a ``grouped`` scenario apart: lr as a factor, weight decay as a number."""
    return [{"lr": (1.0, 0.3, 3.0)[i % 3], "weight_decay": (0.0, 0.1, 0.01)[i % 3]} for i in range(count)]
