"""What fast backends are asked: any run gives what float64 says, or is no farther from it than eager is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.gradients.references import DOUBLE, coefficient, total_norm
from tests.gradients.test_properties import ROUNDINGS, lost_or_not
from torchopt_notes.testing import CASES, Case
from torchopt_notes.testing.oracle import COUNTS, WIDE, Inputs, step_bounds

from .strategies import LAYOUTS, SHAPES, Step, Tensors, flags, steps_with
from .twins import Twins

PATTERNS = ("normal", "normal", "missing", "zero", "huge", "tiny", "nan", "inf", "strided")
EVENTS = ("none", "none", "switch", "checkpoint", "copy", "group", "lr", "freeze")
DTYPES = (torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex64)
limits = st.sampled_from([0.01, 0.5, 3.0])


@dataclass(frozen=True)
class Variant:
    """An optimizer with options: what is compiled once."""

    case: Case
    options: Mapping[str, Any]
    dtype: torch.dtype

    def __repr__(self) -> str:
        return f"Variant({self.case.name}, {dict(self.options)}, {self.dtype})"


@dataclass(frozen=True)
class Run:
    """A variant on parameters, through some steps."""

    variant: Variant
    tensors: tuple[Tensors, ...]
    steps: tuple[Step, ...]
    seed: int


POOL = tuple(
    Variant(case, options, dtype)
    for case in CASES
    for name, options, dtype in (
        ("adamw", {"max_grad_norm": 0.5, "cautious_weight_decay": True}, torch.float32),
        ("sgd-dampening", {"max_grad_value": 0.5, "l1": 0.01}, torch.float32),
        ("lion", {}, torch.bfloat16),
        ("lamb", {"max_grad_norm": 3.0}, torch.float32),
        ("nadam", {}, torch.float64),
        ("adafactor-decay", {}, torch.float32),
    )
    if case.name == name
)
"""For a backend on which each variant costs seconds."""


@st.composite
def variants(draw: Any) -> Variant:
    """Any optimizer, with any options that it takes together."""
    dtype = draw(st.sampled_from(DTYPES))
    case = draw(st.sampled_from([case for case in CASES if case.takes(dtype)]))
    options: dict[str, Any] = {}
    names = ["max_grad_norm", "capturable", "maximize"]
    if not dtype.is_complex:
        names += ["max_grad_value", "l1", "cautious_weight_decay"]
    for name in names:
        if name not in case.optimizer.unsupported and draw(flags):
            options[name] = draw(limits) if name.startswith("max_") else {"l1": 0.01}.get(name, True)
    if options.get("cautious_weight_decay"):
        options |= {"weight_decay": 0.1}
        options |= {} if case.name.startswith("adamw") else {"decoupled_weight_decay": True}
    if "coupled" in case.name and "cautious_weight_decay" in options:
        options["decoupled_weight_decay"] = True
    return Variant(case, options, dtype)


@st.composite
def runs(draw: Any, chosen: st.SearchStrategy[Variant], patterns: tuple[str, ...] = PATTERNS) -> Run:
    """A variant's run."""
    variant = draw(chosen)
    shapes = [shape for shape in SHAPES if 0 not in shape or () in variant.case.shapes]
    one = st.builds(Tensors, st.sampled_from(shapes), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
    tensors = draw(st.lists(one, min_size=1, max_size=3).map(tuple))
    return Run(variant, tensors, draw(steps_with(EVENTS, patterns, most=4)), draw(st.integers(0, 99)))


def check(backend: str, run: Run, wrong: Any = None) -> None:
    """Raises where a step of ``backend`` is farther from float64 than roundings explain, and than eager is."""
    variant = run.variant
    kwargs = {**variant.case.kwargs, **variant.options}
    make = wrong or variant.case.optimizer
    home, eager = partial(make, **kwargs, backend=backend), partial(variant.case.optimizer, **kwargs, backend="eager")
    twins, away = Twins([home, eager], run.tensors, variant.dtype, run.seed), False
    for step in run.steps:
        if step.event == "switch":
            away = not away
            twins.restore(makes=[eager if away else home, eager])
        elif step.event == "checkpoint":
            twins.restore(exchanged=True)
        else:
            twins.happen(step.event, 0.05 if step.event in ("lr", "group") else step.number)
        twins.fill(step.patterns)
        compare(twins, variant)
        restart(twins)


def compare(twins: Twins, variant: Variant) -> None:
    """One step of both, and the step in float64 that it should be."""
    groups = {p: group for group in twins.optimizers[1].param_groups for p in group["params"]}
    before = []
    for i, param in enumerate(twins.params[1]):
        state = {name: _clone(value) for name, value in twins.states(1, i).items()}
        before.append((param.detach().clone(), None if param.grad is None else param.grad.clone(), state))
    grads = [grad for _, grad, _ in before if grad is not None]
    twins.step()
    kwargs = {key: value for key, value in variant.options.items() if key not in ("max_grad_norm", "capturable")}
    kwargs = {**variant.case.kwargs, **kwargs, "backend": "eager"}
    scale = 1.0
    if "max_grad_norm" in variant.options and grads:
        norms = [optimizer.grad_norm for optimizer in twins.optimizers]
        torch.testing.assert_close(norms[0], norms[1], rtol=1e-6, atol=0, equal_nan=True)
        if norms[1].isfinite():
            torch.testing.assert_close(float(norms[1]), total_norm(grads), rtol=1e-6, atol=0)
        scale = coefficient(norms[1].numpy()[()], variant.options["max_grad_norm"])
    limit = (variant.case.units + (ROUNDINGS if variant.options else 0)) * (2 if variant.dtype in DOUBLE else 1)
    for i, (param, grad, state) in enumerate(before):
        mine, its = twins.params[0][i].detach(), twins.params[1][i].detach()
        if grad is None or not param.numel():
            torch.testing.assert_close(mine, param, rtol=0, atol=0, equal_nan=True)
            continue
        options = {k: v for k, v in groups[twins.params[1][i]].items() if k not in ("params", "capturable")}
        inputs = Inputs(param, grad.to(WIDE[grad.dtype]) * scale, state, options)
        for name, bound in step_bounds(variant.case.optimizer, kwargs, inputs).items():
            assert name not in COUNTS
            found, other = (mine, its) if name == "param" else (twins.states(0, i)[name], twins.states(1, i)[name])
            fine = bound.contain(found, limit) | (bound.distance(found) <= bound.distance(other))
            # What is lost in both is lost: which part of a complex product with infinity is NaN, or whether a mean of
            # infinities is, depends on the form of an expression (`explained.py`). The survey compares the rest.
            lost = ~found.isfinite() & ~other.isfinite()
            fine = fine | (lost.unsqueeze(-1) if lost.shape != fine.shape else lost)
            if name == "param":
                fine = fine | lost_or_not(bound.exact, inputs)
            assert fine.all(), (
                f"params[{i}] {name}: {float(bound.distance(found).nan_to_num(torch.inf).max()):.3g} units"
            )


def restart(twins: Twins) -> None:
    """Ours goes on from the reference's numbers, so that a next step is judged for itself."""
    with torch.no_grad():
        for i in range(len(twins.tensors)):
            mine, its = twins.states(0, i), twins.states(1, i)
            assert mine.keys() == its.keys()
            twins.params[0][i].copy_(twins.params[1][i])
            for name, value in its.items():
                mine[name].copy_(value)


def _clone(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
