"""A case: a list of parameters with gradients, as an optimizer sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

Shape = tuple[int, ...]
Grouping = Literal["one", "each"]


@dataclass(frozen=True)
class Case:
    """What optimizers are timed on.

    Attributes:
        name: for the command line and reports.
        about: what it stands for, in a few words.
        shapes: of the parameters. It is given how many elements there is room for; a stack of layers has as many as
            fit, the others are what they are.
        devices: where it makes sense.
        grouping: all parameters in one group, or each in its own.
        missing: each parameter whose number this divides has no gradient; 0 for none.
    """

    name: str
    about: str
    shapes: Callable[[float], Sequence[Shape]]
    devices: tuple[str, ...] = ("cpu", "cuda")
    grouping: Grouping = "one"
    missing: int = 0

    def make(self, shapes: Sequence[Shape], device: str, dtype: torch.dtype, seed: int = 0) -> list[Parameter]:
        """Parameters with gradients, of normally distributed numbers: zeros can be faster."""
        generator = torch.Generator(device).manual_seed(seed)

        def normal(shape: Shape) -> Tensor:
            return torch.randn(shape, device=device, generator=generator, dtype=torch.float32).to(dtype)

        params = [Parameter(normal(shape)) for shape in shapes]
        for number, param in enumerate(params, 1):
            if not (self.missing and number % self.missing == 0):
                param.grad = normal(tuple(param.shape))
        return params

    def groups(self, params: Sequence[Parameter]) -> list[Any]:
        """What an optimizer is constructed with."""
        return [{"params": [param]} for param in params] if self.grouping == "each" else list(params)


def count(shapes: Sequence[Shape]) -> int:
    """Elements in all."""
    return sum(math.prod(shape) for shape in shapes)


def shrunk(shapes: Sequence[Shape], tensors: int = 24, longest: int = 48) -> list[Shape]:
    """A small likeness, for runs that only show that everything works."""
    return [tuple(min(size, longest) for size in shape) for shape in shapes[:tensors]]
