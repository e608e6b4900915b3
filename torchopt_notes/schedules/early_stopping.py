"""Stopping when a metric stops improving, with the best weights: :class:`EarlyStopping`."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, Protocol, SupportsFloat

from . import checks

MODES = ("min", "max")


class Stateful(Protocol):
    """A module, an optimizer, or whatever else has a state dict."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class EarlyStopping:
    """Says when a metric has stopped improving, and brings back what gave the best one.

    Call :meth:`step` after each validation, with the metric and what is to be restored. It returns True when
    ``patience`` metrics in a row were no better than the best by more than ``min_delta``; then the states of the best
    step are loaded. After a loop that ended for another reason, call :meth:`restore`.

    Args:
        patience: how many metrics in a row that are no better end the training, ≥ 1. Default 10.
        min_delta: how much better counts as better, ≥ 0, in the metric's own units. Default 0.
        mode: whether smaller (``"min"``, default) or greater (``"max"``) is better.
        restore_best: whether states are kept and loaded (default True). They are copies, on the devices where the
            originals are: as much memory again as what is handed to :meth:`step`.

    Attributes:
        best: the best metric, or None before the first.
        best_step: the number of its :meth:`step`, from 0.
        num_bad_steps: how many metrics since were no better.
        stopped: whether it was time to stop.

    Raises:
        TypeError: for values of a wrong type.
        ValueError: for a value out of range; in :meth:`step`, for a metric of NaN.

    >>> import torch
    >>> from torchopt_notes import schedules as S
    >>> model = torch.nn.Linear(1, 1)
    >>> stopping = S.EarlyStopping(patience=2)
    >>> for loss in (1.0, 0.5, 0.7, 0.6, 0.1):
    ...     if stopping.step(loss, model):
    ...         break
    >>> loss, stopping.best, stopping.best_step
    (0.6, 0.5, 1)
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
        restore_best: bool = True,
    ) -> None:
        checks.whole("EarlyStopping", least=1, patience=patience)
        checks.non_negative("EarlyStopping", min_delta=min_delta)
        checks.one_of("EarlyStopping", "mode", mode, MODES)
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self.best: float | None = None
        self.best_step = -1
        self.num_bad_steps = 0
        self.stopped = False
        self._steps = 0
        self._best_states: list[dict[str, Any]] = []

    def step(self, metric: SupportsFloat, *states: Stateful) -> bool:
        """Takes the metric of a validation, and returns whether to stop.

        Args:
            metric: a number; a tensor of one element is read.
            states: what is to be restored: usually the model. The same ones, in the same order, in every call.

        Raises:
            TypeError: for a state without ``state_dict`` and ``load_state_dict``.
            ValueError: for a metric of NaN, no ``states`` although ``restore_best`` is set, or another number of them
                than before. Nothing has changed then.
        """
        value = float(metric)
        if math.isnan(value):
            raise ValueError(
                "EarlyStopping: the metric is NaN; it must be a number. Leave the step out for a validation that gave "
                "none, or stop training"
            )
        self._check(states)
        if self._is_better(value):
            self.best, self.best_step, self.num_bad_steps = value, self._steps, 0
            self._best_states = [copy.deepcopy(one.state_dict()) for one in states] if self.restore_best else []
        else:
            self.num_bad_steps += 1
        self._steps += 1
        if self.num_bad_steps >= self.patience:
            self.stopped = True
            self.restore(*states)
        return self.stopped

    def restore(self, *states: Stateful) -> None:
        """Loads what gave the best metric so far, if ``restore_best`` is set.

        Raises:
            TypeError, ValueError: as :meth:`step`.
        """
        self._check(states)
        for one, state in zip(states, self._best_states, strict=False):
            one.load_state_dict(copy.deepcopy(state))

    def _check(self, states: tuple[Stateful, ...]) -> None:
        if not self.restore_best:
            return
        if not states:
            raise ValueError("EarlyStopping: pass what is to be restored, step(metric, model), or restore_best=False")
        for one in states:
            if not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")):
                raise TypeError(f"EarlyStopping: {type(one).__name__} has no state_dict to keep and load")
        if self._best_states and len(states) != len(self._best_states):
            raise ValueError(
                f"EarlyStopping: {len(states)} states were passed, {len(self._best_states)} before; pass the same ones"
            )

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta

    def state_dict(self) -> dict[str, Any]:
        """All that the next :meth:`step` depends on, with copies of the states of the best one."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "num_bad_steps": self.num_bad_steps,
            "stopped": self.stopped,
            "steps": self._steps,
            "best_states": [copy.deepcopy(state) for state in self._best_states],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state. What the constructor was given stays."""
        self.best = state_dict["best"]
        self.best_step = state_dict["best_step"]
        self.num_bad_steps = state_dict["num_bad_steps"]
        self.stopped = state_dict["stopped"]
        self._steps = state_dict["steps"]
        self._best_states = [copy.deepcopy(state) for state in state_dict["best_states"]]
