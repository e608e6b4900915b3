"""A table of parameter groups: :func:`describe_groups`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_SHOWN = 2


def describe_groups(optimizer_or_groups: torch.optim.Optimizer | Sequence[Mapping[str, Any]]) -> str:
    """A table of parameter groups: what is in them, and the options in which they differ.

    A row per group: its index, its numbers of tensors and elements, ``lr``, ``weight_decay``, every other option that
    is not the same in all groups, and the first names (``group.index`` where there are none). ``-`` stands for an
    option that a group leaves to the optimizer.

    Args:
        optimizer_or_groups: any optimizer, or groups as :func:`~.build.param_groups` returns them.

    Raises:
        TypeError: for something without groups.

    Example:
        >>> import torch
        >>> from torchopt_notes.groups import describe_groups, param_groups
        >>> model = torch.nn.Linear(3, 2)
        >>> print(describe_groups(torch.optim.SGD(param_groups(model), lr=0.1, weight_decay=0.01)))
        group  tensors  elements   lr  weight_decay  names
            0        1         6  0.1          0.01  weight
            1        1         2  0.1             0  bias
          all        2         8
    """
    groups = getattr(optimizer_or_groups, "param_groups", optimizer_or_groups)
    if not (isinstance(groups, Sequence) and all(isinstance(group, Mapping) and "params" in group for group in groups)):
        raise TypeError(
            "describe_groups: takes an optimizer or a list of parameter groups (dicts with 'params'), "
            f"got {type(optimizer_or_groups).__name__}"
        )
    members = [_members(number, group) for number, group in enumerate(groups)]
    counts = [sum(param.numel() for _, param in tensors) for tensors in members]
    options = _columns(groups)
    rows = [("group", "tensors", "elements", *options, "names")]
    for number, (group, tensors) in enumerate(zip(groups, members, strict=True)):
        values = (_shown(group[option]) if option in group else "-" for option in options)
        rows.append((str(number), str(len(tensors)), f"{counts[number]:,}", *values, _names(tensors)))
    if len(groups) > 1:
        rows.append(("all", str(sum(map(len, members))), f"{sum(counts):,}", *("" for _ in options), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _members(number: int, group: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    """Names and parameters. Optimizers keep the names apart; lists for optimizers may hold pairs, or no names."""
    params = group["params"]
    if isinstance(params, Tensor):
        params = [params]
    if not isinstance(params, Sequence):
        # An iterator would be empty afterwards, for the optimizer that it was meant for.
        raise TypeError(f"describe_groups: params of group {number} must be a list, got {type(params).__name__}")
    names = group.get("param_names") or [f"{number}.{place}" for place in range(len(params))]
    return [item if isinstance(item, tuple) else (name, item) for name, item in zip(names, params, strict=True)]


def _columns(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(("lr", "weight_decay")) | dict.fromkeys(key for group in groups for key in group)
    shown = []
    for key in keys:
        values = {_shown(group[key]) if key in group else None for group in groups}
        if key in ("lr", "weight_decay"):
            if values != {None} and groups:
                shown.append(key)
        elif key not in ("params", "param_names") and len(values) > 1:
            shown.append(key)
    return shown


def _shown(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_shown, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(members: Sequence[tuple[str, Tensor]]) -> str:
    return ", ".join([*(name for name, _ in members[:_SHOWN]), *(["…"] if len(members) > _SHOWN else [])])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, names to the left."""
    numbers = [cell.rjust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
    return "  ".join([*numbers, row[-1]]).rstrip()
