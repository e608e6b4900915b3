"""What hypothesis draws: optimizers with options, parameters of any layout, gradients of any kind, events of a run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

from torchopt_notes import ASGD, SGD, Adafactor, Adagrad, Rprop
from torchopt_notes.engine.optimizer import Optimizer
from torchopt_notes.testing import CASES

PATTERNS = ("normal", "missing", "zero", "huge", "tiny", "denormal", "nan", "inf", "mixed", "strided")
LAYOUTS = ("contiguous", "transposed", "gaps", "channels_last", "view")
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (5,), (3, 4), (4, 1), (2, 0), (2, 3, 4, 5), (130,))
EVENTS = ("none", "none", "none", "checkpoint", "exchange", "copy", "pickle", "group", "lr", "decay", "freeze")

sizes = st.sampled_from([0.0, 1e-3, 0.1]) | st.floats(0, 2)
rates = st.sampled_from([1e-3, 0.1]) | st.floats(1e-9, 4)
fractions = st.sampled_from([0.0, 0.9, 0.999]) | st.floats(0, 0.9999)
flags = st.booleans()

OWN: dict[str, Any] = {
    "lr": rates,
    "weight_decay": sizes,
    "maximize": flags,
    "foreach": st.sampled_from([None, False]),
    "eps": st.sampled_from([1e-8, 1e-3]) | st.floats(1e-12, 1.0),
    "betas": st.tuples(fractions, fractions),
    "amsgrad": flags,
    "momentum": fractions,
    "dampening": st.floats(-1, 1),
    "nesterov": flags,
    "lr_decay": sizes,
    "initial_accumulator_value": sizes,
    "alpha": fractions,
    "centered": flags,
    "rho": fractions,
    "momentum_decay": sizes,
    "decoupled_weight_decay": flags,
    "lambd": st.floats(0, 0.5),
    "t0": st.sampled_from([0, 1, 2, 1e6]),
    "etas": st.tuples(st.floats(0.01, 0.99), st.floats(1.01, 3)),
    "step_sizes": st.tuples(st.floats(1e-6, 1e-2), st.floats(0.02, 50)),
    "d": st.floats(1, 4),
    "beta2_decay": st.floats(-1, -0.1),
}
"""By name, since the same name means the same to every optimizer."""

TORCH_CLASSES = tuple(dict.fromkeys(case.optimizer for case in CASES if case.reference is not None))
COMPLEX = (torch.complex64, torch.complex128)


@dataclass(frozen=True)
class Tensors:
    """One parameter, and the layout of its gradients."""

    shape: tuple[int, ...]
    layout: str
    grad_layout: str


@dataclass(frozen=True)
class Step:
    """What comes before a step, and which gradients it gets: one pattern for each parameter, taken in turn."""

    event: str
    patterns: tuple[str, ...]
    number: float


@dataclass(frozen=True)
class Problem:
    """A run of an optimizer."""

    optimizer: type[Optimizer]
    options: dict[str, Any]
    dtype: torch.dtype
    tensors: tuple[Tensors, ...]
    steps: tuple[Step, ...]
    seed: int


def shapes_for(optimizer: type[Optimizer]) -> tuple[tuple[int, ...], ...]:
    """torch's Adafactor divides by the number of elements."""
    return tuple(shape for shape in SHAPES if 0 not in shape) if optimizer is Adafactor else SHAPES


def events_for(optimizer: type[Optimizer]) -> tuple[str, ...]:
    """torch's Adagrad has no state for a group that comes later, and raises at its first gradient."""
    return tuple(event for event in EVENTS if event != "group") if optimizer is Adagrad else EVENTS


def tensors_for(optimizer: type[Optimizer], count: int = 3) -> st.SearchStrategy[tuple[Tensors, ...]]:
    """Some parameters."""
    layouts = st.sampled_from(LAYOUTS)
    one = st.builds(Tensors, st.sampled_from(shapes_for(optimizer)), layouts, layouts)
    return st.lists(one, min_size=1, max_size=count).map(tuple)


@st.composite
def torch_options(draw: Any, optimizer: type[Optimizer]) -> dict[str, Any]:
    """Arguments that torch's class takes too, with values that it allows together."""
    assert optimizer.counterpart is not None
    known = [name for name in inspect.signature(optimizer.counterpart).parameters if name in OWN]
    found = {name: draw(OWN[name]) for name in known if name == "lr" or draw(flags)}
    if optimizer is SGD and found.get("nesterov"):
        found |= {"momentum": found.get("momentum") or 0.9, "dampening": 0}
    if optimizer is Adafactor and "eps" in found:
        found["eps"] = (found["eps"], draw(OWN["eps"]))
    if optimizer is ASGD and "alpha" in found:
        found["alpha"] = max(found["alpha"], 0.1)
    if optimizer is Rprop and "weight_decay" in found:
        del found["weight_decay"]
    return found


def steps_with(events: tuple[str, ...], patterns: tuple[str, ...], most: int = 6) -> st.SearchStrategy[Any]:
    """A run's steps."""
    chosen = st.lists(st.sampled_from(patterns), min_size=1, max_size=3).map(tuple)
    return st.lists(st.builds(Step, st.sampled_from(events), chosen, rates), min_size=1, max_size=most).map(tuple)


@st.composite
def torch_problems(draw: Any, classes: tuple[type[Optimizer], ...] = TORCH_CLASSES) -> Problem:
    """Runs of what torch has a counterpart of."""
    optimizer = draw(st.sampled_from(classes))
    dtypes = [torch.float32, torch.float64, *(() if "complex" in optimizer.unsupported else COMPLEX)]
    return Problem(
        optimizer,
        draw(torch_options(optimizer)),
        draw(st.sampled_from(dtypes)),
        draw(tensors_for(optimizer)),
        draw(steps_with(events_for(optimizer), PATTERNS)),
        draw(st.integers(0, 99)),
    )
