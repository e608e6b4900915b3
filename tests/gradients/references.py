"""Independent references: what happens to gradients and weights around a rule, in float64 NumPy.

And the comparison that the tests here share: a step of any backend against the same step in float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from torchopt_notes import Rprop
from torchopt_notes.engine.layout import real
from torchopt_notes.testing import CASES, Case
from torchopt_notes.testing.oracle import COUNTS, WIDE, Inputs, same, step_bounds


def _representative(cases: list[Case]) -> Case:
    """The first case whose arguments mean the same in float64."""
    case = next(c for c in cases if c.takes(torch.bfloat16))
    case = replace(case, shapes=tuple(shape for shape in SHAPES if shape in case.shapes))
    # Rprop's lr is the first value of a state, which half precisions would round.
    return replace(case, kwargs={"lr": 2.0**-7}) if case.optimizer is Rprop else case


SHAPES = ((), (63,), (0,), (17, 31), (2, 3, 4, 5))
ONE_EACH = [
    _representative([c for c in CASES if c.optimizer is cls]) for cls in dict.fromkeys(c.optimizer for c in CASES)
]
"""One case of every optimizer but SparseAdam, which takes no dense gradients."""

DOUBLE = (torch.float64, torch.complex128)


def total_norm(grads, order=2.0):
    """The p-norm of all gradients together, in float64."""
    values = [g.detach().to(WIDE[g.dtype]).numpy().reshape(-1) for g in grads if g is not None]
    return float(np.linalg.norm(np.concatenate(values), order)) if values else 0.0


def coefficient(norm, limit):
    """What torch multiplies gradients with, in the precision of ``norm``, a NumPy scalar."""
    kind = type(norm)
    return float(np.minimum(kind(1) / (norm + kind(1e-6)) * kind(limit), kind(1)))


def unit_scales(w, g, clip, eps=1e-3):
    """What adaptive clipping multiplies the gradient with (Brock et al. 2021, equation 3): a unit is all that belongs
    to one index of the first dimension, or all of a tensor with fewer than two dimensions."""
    axes = tuple(range(1, w.ndim)) if w.ndim > 1 else None
    keep = {"axis": axes, "keepdims": w.ndim > 1}
    weight_norm = np.sqrt(np.sum(np.abs(w) ** 2, **keep))
    grad_norm = np.sqrt(np.sum(np.abs(g) ** 2, **keep))
    most = clip * np.maximum(weight_norm, eps)
    with np.errstate(invalid="ignore"):  # inf over inf, where a gradient is no number
        return np.where(grad_norm > most, most / np.maximum(grad_norm, 1e-6), 1.0)


def limited(w, g, scale=1.0, adaptive_clip=None, adaptive_eps=1e-3, max_grad_value=None):
    """The gradient after everything that limits it, in the documented order; arrays in float64 or complex128."""
    g = g * scale
    if adaptive_clip is not None:
        g = g * unit_scales(w, g, adaptive_clip, adaptive_eps)
    return g if max_grad_value is None else np.clip(g, -max_grad_value, max_grad_value)


def soft_threshold(w, amount):
    """sign(w)·max(|w| - amount, 0), the proximal operator of amount·|w|."""
    return np.sign(w) * np.maximum(np.abs(w) - amount, 0)


def cautious(before, after, amount):
    """Chen et al. 2025: a decoupled decay of the weights that the step does not move away from zero."""
    return after - np.where((before - after) * before >= 0, amount * before, 0)


def wide(tensor):
    """A float64 or complex128 array of the tensor's numbers."""
    return tensor.detach().to(WIDE[tensor.dtype]).numpy().copy()


def bits(tensors):
    """The numbers of tensors, and how often they were written, to see whether they are written again."""
    return [None if t is None else (t.detach().clone(), t._version) for t in tensors]


def assert_untouched(tensors, before):
    for tensor, old in zip(tensors, before, strict=True):
        assert (tensor is None) == (old is None)
        if tensor is not None and old is not None:
            assert tensor._version == old[1]
            assert same(real(tensor.detach()), real(old[0])).all()


def fill(params, seed, size=1.0):
    """New gradients, of the same layout as the parameters."""
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        values = torch.randn(param.shape, generator=generator, dtype=WIDE[param.dtype]) * size
        param.grad = torch.empty_like(param).copy_(values)


def make(shapes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=WIDE[dtype]).to(dtype)) for shape in shapes
    ]


def step_within_bounds(
    optimizer: torch.optim.Optimizer,
    factory: Callable[..., torch.optim.Optimizer],
    kwargs: Mapping[str, Any],
    units: float,
    gradient: Callable[[np.ndarray, np.ndarray, dict[str, Any]], np.ndarray],
    options: Callable[[dict[str, Any]], dict[str, Any]] = lambda group: {"lr": group["lr"]},
    either: Callable[[torch.Tensor, Inputs], torch.Tensor] | None = None,
) -> None:
    """Takes a step, and raises unless each number is what roundings can make of the same step in float64.

    Args:
        optimizer: whose parameters have their gradients.
        factory, kwargs: an optimizer without the options under test, which takes the step in float64.
        units: how many of the oracle's units (see ``testing.oracle``) a result may be off; twice that in float64, where
            the oracle's own roundings come on top.
        gradient: of a weight, its gradient and its group: the gradient for that step, worked out after the step that is
            compared.
        options: what the step in float64 takes from the parameter's group.
        either: of an exact result and what it came from: numbers about which a rounding may decide, and which count
            for nothing here.
    """
    entries = [(p, group) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    start = [
        (
            p.detach().clone(),
            p.grad.detach().clone(),
            {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in optimizer.state.get(p, {}).items()},
        )
        for p, _ in entries
    ]
    grads = [p.grad for p, _ in entries]
    before = bits(grads)
    optimizer.step()
    assert_untouched(grads, before)
    for (param, group), (w, g, state) in zip(entries, start, strict=True):
        if param.numel() == 0:
            continue
        exact_gradient = torch.from_numpy(np.asarray(gradient(wide(w), wide(g), group)))
        inputs = Inputs(w, exact_gradient, state, options(group))
        limit = units * (2 if param.dtype in DOUBLE else 1)
        for name, bound in step_bounds(factory, kwargs, inputs).items():
            actual = param.detach() if name == "param" else optimizer.state[param][name]
            assert name not in COUNTS
            fine = bound.contain(actual, limit)
            if either is not None and name == "param":
                fine = fine | either(bound.exact, inputs)
            assert fine.all(), f"{name}: {float(bound.distance(actual).nan_to_num(torch.inf).max()):.3g} units"
