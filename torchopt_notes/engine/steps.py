"""The step counts of a bucket, advanced together."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .buckets import States


class StepCounts:
    """Counts on the host: 0-d views of one vector, so that one addition advances all of them.

    ``state["step"]`` stays the 0-d tensor that torch's checkpoints expect; only the memory behind it is shared. A count
    that was replaced since (a loaded checkpoint, a user's assignment) is adopted into a new vector. Rules that keep no
    count are told 1 for a new state and 2 after that.

    Attributes:
        values: the counts after the last ``advance``, in the states' order. Only to be read.
        version: changes whenever counts moved by anything but the common addition, so that what was derived from which
            members agree must be derived again.
    """

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] = np.empty(0)
        self.version = 0
        self._views: list[Tensor] = []
        self._addresses: list[int] = []
        self._expected = b""

    def advance(self, states: States) -> None:
        """Adds 1 to every count."""
        if not states.steps:
            self._advance_uncounted(states)
            return
        steps = states.steps
        ours = len(steps) == len(self._views) and all(map(is_, steps, self._views))
        if not (ours and list(map(Tensor.data_ptr, steps)) == self._addresses):
            self._adopt(states.dicts, steps)
        elif self.values.tobytes() != self._expected:  # somebody wrote into a count
            self.version += 1
        self.values += 1
        self._expected = self.values.tobytes()

    def _advance_uncounted(self, states: States) -> None:
        if states.fresh is not None:
            self.values = np.where(states.fresh, 1.0, 2.0)
            self.version += 1
        elif len(self.values) != len(states.dicts) or self.values.min() == 1:
            self.values = np.full(len(states.dicts), 2.0)
            self.version += 1

    def _adopt(self, states: Sequence[dict[str, Any]], steps: Sequence[Tensor]) -> None:
        vector = torch.stack([step.to("cpu", steps[0].dtype) for step in steps])
        self._views = list(vector.unbind())
        self._addresses = list(map(Tensor.data_ptr, self._views))
        self.values = vector.numpy()
        self.version += 1
        for state, view in zip(states, self._views, strict=True):
            state["step"] = view
