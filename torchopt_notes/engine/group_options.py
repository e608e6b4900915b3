"""Whether the options of the parameter groups are what they were, asked at every step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import repeat
from operator import is_
from typing import Any

ELSEWHERE = ("params", "lr", "param_names")
"""Group keys that are looked at elsewhere, or not at all: no choice of code follows from them."""

_PLAIN = (bool, int, float, str, type(None))


class GroupOptions:
    """The options of some parameter groups but for lr, as the objects that they were when this was made.

    Attributes:
        lasting: whether all of them stay what they are while they are the same objects. Lists and tensors do not.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self._names = [tuple(sorted(name for name in group if name not in ELSEWHERE)) for group in groups]
        self._values = [tuple(map(group.get, names)) for group, names in zip(groups, self._names, strict=True)]
        self._lasts = list(map(_lasts, self._values))
        self.lasting = all(self._lasts)

    def hold(self, groups: Sequence[dict[str, Any]]) -> bool:
        """Whether nothing was changed, added or taken away for certain. A value that was set anew counts as changed."""
        if not self.lasting or len(groups) != len(self._names):
            return False
        for group, names, values in zip(groups, self._names, self._values, strict=True):
            if len(group) != len(names) + 2 + ("param_names" in group):
                return False
            if not all(map(is_, map(group.get, names, repeat(self)), values)):
                return False
        return True

    @cached_property
    def alike(self) -> list[int]:
        """A number for each group; groups with the same number have the same options."""
        found: dict[Any, int] = {}
        known = zip(self._lasts, self._names, self._values, strict=True)
        return [
            found.setdefault((names, values) if lasts else index, len(found))
            for index, (lasts, names, values) in enumerate(known)
        ]


class Sharing:
    """Which of some parameter groups have the same numbers, so that one row of them serves all their parameters.

    Groups only ever part. Such as differed once keep rows of their own; else tensors could be laid out anew at every
    other step.

    Attributes:
        version: changes when groups have parted.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self.version = 0
        self._groups = groups
        self._alike: Sequence[int] = [0] * len(groups)
        self._rows = 1

    def refresh(self, options: GroupOptions, groups: Sequence[dict[str, Any]]) -> None:
        """Looks at all options and learning rates."""
        if len(self._groups) == 1:
            return
        rates = [groups[index]["lr"] for index in self._groups]
        keys = [lr if type(lr) in (float, int) else (id(lr),) for lr in rates]
        found: dict[Any, int] = {}
        now = zip(self._alike, map(options.alike.__getitem__, self._groups), keys, strict=True)
        alike = [found.setdefault(key, len(found)) for key in now]
        if len(found) > self._rows:
            self._alike, self._rows = alike, len(found)
            self.version += 1

    def of(self, groups: Sequence[int]) -> list[int]:
        """For each of these groups a number; those with the same number share a row."""
        known = dict(zip(self._groups, self._alike, strict=True))
        return [known[group] for group in groups]


def _lasts(value: Any) -> bool:
    return all(map(_lasts, value)) if type(value) is tuple else isinstance(value, _PLAIN)
