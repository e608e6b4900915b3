"""The fewest bytes that an update must move."""

from __future__ import annotations

from typing import Any

import torch

import torchopt_notes


def minimal_bytes(optimizer: torch.optim.Optimizer, *, clipped: bool = False) -> int:
    """Gradients read; parameters and states read and written.

    Where norms decide about the update, what both need is read twice, once before the norms are known and once after;
    and gradients whose rows and columns are averaged once more. Call it after a step, when the states exist. Numbers
    of the step (0-d states) do not count.

    Args:
        clipped: whether gradients are clipped by their norm, for which they are read once more.
    """
    total = 0
    for group in optimizer.param_groups:
        for param in (param for param in group["params"] if param.grad is not None):
            states = {name: v for name, v in optimizer.state[param].items() if isinstance(v, torch.Tensor) and v.dim()}
            sizes = {"param": param.nbytes, "grad": param.grad.nbytes} | {n: v.nbytes for n, v in states.items()}
            total += (
                param.nbytes
                + clipped * param.grad.nbytes
                + sum(sizes[name] for name in states)
                + _read(optimizer, group, param, sizes)
            )
    return total


def _read(optimizer: torch.optim.Optimizer, group: dict[str, Any], param: torch.Tensor, sizes: dict[str, int]) -> int:
    rule = None
    if isinstance(optimizer, torchopt_notes.Optimizer):
        rule = optimizer.param_variant(optimizer.variant(group), group, param).rule
    if rule is None or rule.norms is None:
        return sum(sizes.values())
    before = {*rule.norms.measured, *(sizes.keys() - {"param", "grad"} if rule.norms.advances else ())}
    factors = sizes["grad"] if rule.span == "matrix" else 0
    return factors + sum(sizes.get(name, 0) for name in (*before, *rule.norms.updated))
