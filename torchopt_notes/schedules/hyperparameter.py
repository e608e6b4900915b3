"""What a schedule can drive: a number in an optimizer's parameter groups, or one in a tuple there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

Group = dict[str, Any]
Value = float | Tensor

_NAME = re.compile(r"(\w+)(?:\[(\d+)\])?")
# Numbers in a group that a scheduler has put there, or that say how a step is made rather than what it does.
_NOT_DRIVEN = re.compile(r"initial_.*|(max|min|base)_(lr|momentum)|reference_lr")


@dataclass(frozen=True)
class Hyperparameter:
    """A place in a parameter group: ``group[key]``, or ``group[key][index]``."""

    key: str
    index: int | None = None

    @property
    def name(self) -> str:
        """As users write it: ``"lr"``, ``"betas[0]"``."""
        return self.key if self.index is None else f"{self.key}[{self.index}]"

    @property
    def initial(self) -> str:
        """The group key under which the base value is kept, as torch keeps ``initial_lr``."""
        return f"initial_{self.name}"

    def read(self, group: Group) -> Value:
        """The value itself; a tensor is not copied."""
        value: Value = group[self.key] if self.index is None else group[self.key][self.index]
        return value

    def copy(self, group: Group) -> Value:
        """The value; a tensor is copied."""
        value = self.read(group)
        return value.detach().clone() if isinstance(value, Tensor) else value

    def write(self, group: Group, value: Value) -> None:
        """Sets the value; a tensor is filled where it is, so that a captured CUDA graph sees it."""
        current = self.read(group)
        if isinstance(current, Tensor):
            with torch.no_grad():
                current.copy_(value.reshape(current.shape)) if isinstance(value, Tensor) else current.fill_(value)
        elif self.index is None:
            group[self.key] = value
        else:
            values = list(group[self.key])
            values[self.index] = value
            group[self.key] = type(group[self.key])(values)


def hyperparameter(owner: str, name: Any, groups: list[Group]) -> Hyperparameter:
    """The hyperparameter of that name.

    Raises:
        TypeError: for a name that is no string.
        ValueError: if one of ``groups`` does not have it as a number; the message lists those that all have.
    """
    if not isinstance(name, str):
        raise TypeError(f"{owner}: the name of a hyperparameter must be a string, got {name!r}")
    match = _NAME.fullmatch(name)
    if match is not None:
        found = Hyperparameter(match[1], None if match[2] is None else int(match[2]))
        if all(_has(group, found) for group in groups):
            return found
    known = [one for one in _driven(groups[0]) if all(_has(group, one) for group in groups)]
    raise ValueError(
        f"{owner}: the optimizer's groups have no number {name!r} to drive; they have "
        f"{', '.join(one.name for one in known)}"
    )


def _has(group: Group, one: Hyperparameter) -> bool:
    if one.key == "params" or one.key not in group or isinstance(group[one.key], (tuple, list)) == (one.index is None):
        return False
    try:
        return _is_number(one.read(group))
    except (TypeError, IndexError):
        return False


def _driven(group: Group) -> list[Hyperparameter]:
    found = []
    for key, value in group.items():
        if key == "params" or _NOT_DRIVEN.fullmatch(key):
            continue
        if isinstance(value, (tuple, list)):
            found += [Hyperparameter(key, index) for index, one in enumerate(value) if _is_number(one)]
        elif _is_number(value):
            found.append(Hyperparameter(key))
    return found


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, Real) and not isinstance(value, bool)
