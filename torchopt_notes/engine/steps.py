"""The step counts of a bucket, advanced together."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    def __init__(self) -> None:
        self._views: list[Tensor] = []
        self._vector = torch.empty(0)

    def advance(self, states: States) -> npt.NDArray[Any]:
        """Adds 1 to every count and returns their new values, in the states' order. The array is only to be read."""
        if "step" not in states.dicts[0]:
            if states.fresh is not None:
                return np.where(states.fresh, 1.0, 2.0)
            return np.full(len(states.dicts), 2.0)
        steps = [state["step"] for state in states.dicts]
        if len(steps) != len(self._views) or any(a is not b for a, b in zip(steps, self._views, strict=True)):
            self._adopt(states.dicts, steps)
        self._vector += 1
        return self._vector.numpy()

    def _adopt(self, states: Sequence[dict[str, Any]], steps: Sequence[Tensor]) -> None:
        self._vector = torch.stack([step.to("cpu", steps[0].dtype) for step in steps])
        self._views = list(self._vector.unbind())
        for state, view in zip(states, self._views, strict=True):
            state["step"] = view
