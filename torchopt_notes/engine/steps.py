"""The step counts of a bucket, and other 0-d states that its rule carries on, advanced together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .addresses import Addresses, same
from .buckets import States

FEW = 16
"""Values up to which Python is faster than NumPy, whose machinery takes 50 µs to start when an update of large tensors
has flushed the caches."""


class SharedVector:
    """One 0-d state of all members, as views of one vector, so that one operation serves all of them.

    ``state[name]`` stays the 0-d tensor that torch's checkpoints expect; only the memory behind it is shared. A tensor
    that was put in its place since (a loaded checkpoint, a user's assignment) is adopted into a new vector.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._in_python = False
        self.take(np.empty(0))
        self._views: list[Tensor] = []
        self._addresses = Addresses(1, 0, builds=False)
        self._known: list[int] | bytes = []
        self._expected = b""

    def gather(self, dicts: Sequence[dict[str, Any]], tensors: list[Tensor]) -> bool:
        """Makes ``values`` what the states hold. Returns whether anybody else has changed them."""
        # What is still ours is alike, and only its memory may be another's.
        if same(tensors, self._views) and self._where(tensors, alike=True) == self._known:
            return self._memory.tobytes() != self._expected
        vector = torch.stack([tensor.to("cpu", tensors[0].dtype) for tensor in tensors])
        self._views = list(vector.unbind())
        # Of other dtypes, Python cannot write elements.
        self._in_python = len(self._views) <= FEW and vector.dtype in (torch.float32, torch.float64)
        self._addresses = Addresses(1, len(self._views), builds=False)
        self._known = self._where(self._views, alike=False)
        self.take(vector.numpy())
        for state, view in zip(dicts, self._views, strict=True):
            state[self.name] = view
        return True

    def take(self, values: npt.NDArray[Any]) -> None:
        """Replaces the values."""
        self.values = values
        self._memory = values.data

    def _where(self, tensors: list[Tensor], *, alike: bool) -> list[int] | bytes:
        """What stays the same while every tensor stays where it is."""
        if self._in_python:
            return list(map(Tensor.data_ptr, tensors))
        return self._addresses.read([tensors], alike=alike).tobytes()

    def add_one(self) -> None:
        """Adds 1 to each value."""
        if self._in_python:
            for i, value in enumerate(self._memory):
                self._memory[i] = value + 1
        else:
            self.values += 1

    def settle(self) -> None:
        """Remembers the values as our own doing."""
        self._expected = self._memory.tobytes()


class StepCounts:
    """Counts on the host. Rules that keep no count are told 1 for a new state and 2 after that.

    Args:
        carried: the names of the 0-d states that the rule carries on.

    Attributes:
        values: the counts after the last ``advance``, in the states' order. Only to be read.
        version: changes whenever counts moved by anything but the common addition, so that what was derived from which
            members agree must be derived again.
    """

    def __init__(self, carried: Sequence[str] = ()) -> None:
        self.version = 0
        self._steps = SharedVector("step")
        self._carried = [SharedVector(name) for name in carried]

    @property
    def values(self) -> npt.NDArray[Any]:
        """The counts."""
        return self._steps.values

    def advance(self, states: States) -> None:
        """Adds 1 to every count."""
        if not states.steps:
            self._advance_uncounted(states)
            return
        changed = self._steps.gather(states.dicts, states.steps)
        for vector, column in zip(self._carried, states.carried, strict=True):
            changed |= vector.gather(states.dicts, column)
        self.version += changed
        self._steps.add_one()
        self._steps.settle()

    def keys(self, groups: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """What decides a member's numbers, [1 + n_carried + 1, members]: members with equal columns share them."""
        return np.stack([np.asarray(groups, np.float64), *[v.values.astype(np.float64) for v in self._vectors()]])

    def carried(self, member: int) -> tuple[Any, ...]:
        """The carried numbers of one member, as NumPy scalars in the states' precision."""
        return tuple(vector.values[member] for vector in self._carried)

    def carry(self, members: Any, numbers: Sequence[Any]) -> None:
        """Sets the carried numbers of ``members`` (any index of a vector), one value or vector for each name."""
        for vector, number in zip(self._carried, numbers, strict=True):
            vector.values[members] = number
            vector.settle()

    def _vectors(self) -> list[SharedVector]:
        return [self._steps, *self._carried]

    def _advance_uncounted(self, states: States) -> None:
        steps = self._steps
        if states.fresh is not None:
            steps.take(np.where(states.fresh, 1.0, 2.0))
            self.version += 1
        elif len(steps.values) != len(states.dicts) or steps.values.min() == 1:
            steps.take(np.full(len(states.dicts), 2.0))
            self.version += 1
