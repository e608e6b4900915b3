"""What sets an optimizer's hyperparameters from the step: :class:`Scheduler`."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from . import checks
from .hyperparameter import Hyperparameter, Value, hyperparameter
from .schedule import Schedule

Function = Schedule | Callable[[int], float]
Functions = Function | Sequence[Function | None]

_LR = Hyperparameter("lr")


class Scheduler(LRScheduler):
    r"""Sets hyperparameters to their base values times a schedule of the step.

    .. math::
        h_t = h_{base} \cdot \text{schedule}(t)

    Construction sets the values of step 0; call :meth:`step` after each ``optimizer.step()``. The value depends on t
    and the base value alone: nothing accumulates, whatever was set by hand in between is overwritten, and resuming or
    seeking lands on the value that an uninterrupted run has there. Base values are those in the groups at construction,
    kept there as ``initial_lr``, ``initial_weight_decay`` and so on, the way torch does; a group added later has its
    base values from when it was added. Tensors are filled where they are, without waiting for a device, so that
    captured CUDA graphs see the new values.

    It is a ``torch.optim.lr_scheduler.LRScheduler`` and works in what drives those.

    Args:
        optimizer: any ``torch.optim.Optimizer``.
        schedules: what drives what, by the hyperparameter's name: ``{"lr": S.cosine(1_000), "betas[0]": …}``.
        last_epoch: the step before the one whose values construction sets. Default -1, a new run. Otherwise groups must
            have their ``initial_`` values, which come with the optimizer's state dict.
        allow_new_horizon: whether :meth:`load_state_dict` takes the state of a run whose schedules had other horizons.
            Default False: it raises, because the values would jump.
        **named: further ones of ``schedules``, for names that are identifiers: ``lr=S.cosine(1_000)``. Each is one
            schedule for all groups, or a list of one per group, with None for groups to leave alone. Any callable
            that takes the step and returns a number will do.

    Attributes:
        last_epoch: the step that the present values belong to.
        base_values: the base values by name, one for each group.

    Raises:
        TypeError: for something that is no optimizer or no schedule; in :meth:`step`, for a value that is no number.
        ValueError: for a hyperparameter that the optimizer does not have (the message lists those it has), that is
            named twice, a list of another length than ``optimizer.param_groups``, nothing to drive; in :meth:`step`,
            for a value that is not finite.
        KeyError: for ``last_epoch`` ≥ 0 when groups lack their ``initial_`` values.

    >>> import torch, torchopt_notes as optim
    >>> from torchopt_notes import schedules as S
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = optim.AdamW(model.parameters(), lr=0.5, betas=(0.9, 0.99), weight_decay=0.1)
    >>> scheduler = S.Scheduler(optimizer, {"betas[1]": S.constant(0.5)}, lr=S.warmup(2) >> S.cosine(8))
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["betas"]
    ([0.25], (0.9, 0.495))
    >>> scheduler.seek(6); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedules: Mapping[str, Functions] | None = None,
        *,
        last_epoch: int = -1,
        allow_new_horizon: bool = False,
        **named: Functions,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Scheduler: {type(optimizer).__name__} is not an Optimizer")
        if not isinstance(schedules, (Mapping, NoneType)):
            raise TypeError(
                f"Scheduler: `schedules` must be a dict of hyperparameters and what drives them, got {schedules!r}; "
                "for the learning rate write lr=…"
            )
        twice = sorted(set(schedules or ()) & set(named))
        if twice:
            raise ValueError(f"Scheduler: {', '.join(twice)} was given twice, in `schedules` and by name")
        wanted = {**(schedules or {}), **named}
        if not wanted:
            raise ValueError("Scheduler: nothing to drive; pass a schedule, such as lr=schedules.cosine(1_000)")
        self.allow_new_horizon = allow_new_horizon
        self._driven = {
            hyperparameter("Scheduler", name, optimizer.param_groups): functions for name, functions in wanted.items()
        }
        for one, functions in self._driven.items():
            _check_functions(one.name, functions, len(optimizer.param_groups))
        self.base_values: dict[str, list[Value]] = {}
        before = [set(group) for group in optimizer.param_groups]
        try:
            for one in self._driven:
                self.base_values[one.name] = [
                    self._base(one, group, index, resuming=last_epoch != -1)
                    for index, group in enumerate(optimizer.param_groups)
                ]
            super().__init__(optimizer, last_epoch)
        except Exception:
            # Base values that stayed would be those of the next scheduler, whatever the groups hold then.
            for group, keys in zip(optimizer.param_groups, before, strict=True):
                for key in set(group) - keys:
                    del group[key]
            raise

    @staticmethod
    def _base(one: Hyperparameter, group: dict[str, Any], index: int, *, resuming: bool) -> Value:
        if resuming and one.initial not in group:
            raise KeyError(
                f"param {one.initial!r} is not specified in param_groups[{index}] when resuming a scheduler with "
                "last_epoch >= 0; load the optimizer's state dict first, or leave last_epoch and load the scheduler's"
            )
        value = group.setdefault(one.initial, one.copy(group))
        return value.clone() if isinstance(value, Tensor) else value

    @property
    def schedules(self) -> dict[str, Functions]:
        """What drives what, by the hyperparameter's name."""
        return {one.name: functions for one, functions in self._driven.items()}

    def step(self, epoch: int | None = None) -> None:
        """To the next step. Call it after ``optimizer.step()``.

        Args:
            epoch: a step to go to instead; deprecated by torch. Use :meth:`seek`.
        """
        self._warn_about_order()
        if epoch is not None:
            warnings.warn("Scheduler.step(epoch) is deprecated; use Scheduler.seek(step)", UserWarning, stacklevel=2)
        self._update_lr(epoch)
        self._step_count += 1

    def seek(self, step: int) -> None:
        """To any step, at once; the values are those that as many calls of :meth:`step` lead to.

        Raises:
            TypeError: for a step that is no whole number.
            ValueError: for a negative one.
        """
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            raise TypeError(f"Scheduler.seek: step must be a whole number, got {step!r}")
        step = operator.index(step)
        if step < 0:
            raise ValueError(f"Scheduler.seek: step must be >= 0, got {step}")
        self._update_lr(step)
        self._step_count = step + 1

    def _update_lr(self, epoch: int | None = None) -> None:
        step = self.last_epoch + 1 if epoch is None else epoch
        self._adopt_new_groups()
        values = {one: self._values(one, step) for one in self._driven}
        for one, ones in values.items():
            for group, value in zip(self.optimizer.param_groups, ones, strict=True):
                if value is not None:
                    one.write(group, value)
        self.last_epoch = step
        self._last_lr = [_LR.copy(group) for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present step, one for each group."""
        self._adopt_new_groups()
        lrs = [_LR.copy(group) for group in self.optimizer.param_groups]
        if _LR not in self._driven:
            return lrs
        values = self._values(_LR, self.last_epoch)
        return [lr if value is None else value for lr, value in zip(lrs, values, strict=True)]

    def _values(self, one: Hyperparameter, step: int) -> list[Value | None]:
        functions = self._driven[one]
        bases = self.base_values[one.name]
        multipliers: list[float | None]
        if isinstance(functions, Sequence):
            multipliers = [
                None if function is None else _multiplier(function, step, one, index)
                for index, function in enumerate(functions)
            ]
        else:
            multipliers = [_multiplier(functions, step, one)] * len(bases)
        return [
            None if multiplier is None else base * multiplier
            for base, multiplier in zip(bases, multipliers, strict=True)
        ]

    def _adopt_new_groups(self) -> None:
        groups = self.optimizer.param_groups
        for one, functions in self._driven.items():
            bases = self.base_values[one.name]
            if isinstance(functions, Sequence) and len(functions) != len(groups):
                raise ValueError(
                    f"Scheduler: {one.name} has {len(functions)} schedules, one per group, but the optimizer has "
                    f"{len(groups)} groups now; give one schedule for all, or make a new Scheduler"
                )
            for index in range(len(bases), len(groups)):
                bases.append(self._base(one, groups[index], index, resuming=False))
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs = [*self.base_lrs, group.get("initial_lr", _LR.copy(group))]

    def _warn_about_order(self) -> None:
        if self._step_count != 1:
            return
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please make sure to call `optimizer.step()` before `lr_scheduler.step()`.",
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order: "
                "otherwise the first value of the schedule is skipped.",
                UserWarning,
                stacklevel=3,
            )

    def state_dict(self) -> dict[str, Any]:
        """The step, the base values, and the horizons of the schedules: a handful of numbers."""
        self._adopt_new_groups()
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_values": {name: list(values) for name, values in self.base_values.items()},
            "horizons": self._horizons(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to the step of ``state_dict``, with its base values, and sets the hyperparameters accordingly.

        It makes no difference whether the optimizer's state is loaded before or after.

        Raises:
            ValueError: for a state of something else: other hyperparameters, another number of groups, or, unless
                ``allow_new_horizon`` is set, other horizons. Nothing has changed then. Another schedule of the same
                length is not noticed.
        """
        missing = {"last_epoch", "_step_count", "base_values", "horizons"} - set(state_dict)
        if missing:
            raise ValueError(f"Scheduler: this is no state of a Scheduler, it lacks {', '.join(sorted(missing))}")
        saved = state_dict["base_values"]
        if set(saved) != set(self.base_values):
            raise ValueError(
                f"Scheduler: the state is of one that drives {', '.join(saved)}; this one drives "
                f"{', '.join(self.base_values)}"
            )
        groups = self.optimizer.param_groups
        for name, values in saved.items():
            if len(values) != len(groups):
                raise ValueError(
                    f"Scheduler: the state has {len(values)} base values of {name}; the optimizer has {len(groups)} "
                    "groups"
                )
        if state_dict["horizons"] != self._horizons() and not self.allow_new_horizon:
            raise ValueError(
                f"Scheduler: the state is of a run with horizons {state_dict['horizons']}; those of this one are "
                f"{self._horizons()}. The values would jump; if that is meant, pass allow_new_horizon=True"
            )
        for one in self._driven:
            values = [_like(value, one.read(group)) for group, value in zip(groups, saved[one.name], strict=True)]
            self.base_values[one.name] = values
            for group, value in zip(groups, values, strict=True):
                group[one.initial] = value.clone() if isinstance(value, Tensor) else value
        if _LR in self._driven:
            self.base_lrs = list(self.base_values["lr"])
        if state_dict["last_epoch"] < 0:
            # In a SequentialLR it has waited for its turn, and set nothing.
            self.last_epoch = state_dict["last_epoch"]
        else:
            self._update_lr(state_dict["last_epoch"])
        self._step_count = state_dict["_step_count"]

    def _horizons(self) -> dict[str, Any]:
        horizons: dict[str, Any] = {}
        for name, functions in self.schedules.items():
            if isinstance(functions, Sequence):
                horizons[name] = [getattr(function, "horizon", None) for function in functions]
            else:
                horizons[name] = getattr(functions, "horizon", None)
        return horizons

    def __repr__(self) -> str:
        driven = ", ".join(f"{name}={functions!r}" for name, functions in self.schedules.items())
        return f"Scheduler({driven}; step {self.last_epoch})"


def _like(saved: Value, present: Value) -> Value:
    """A saved value as one of the kind, and on the device, that the optimizer has it now."""
    if isinstance(saved, Tensor):
        return saved.to(present.device) if isinstance(present, Tensor) else float(saved)
    return saved


def _multiplier(function: Function, step: int, one: Hyperparameter, index: int | None = None) -> float:
    value = function(step)
    if type(value) is float and math.isfinite(value):
        return value
    where = "" if index is None else f" for param_groups[{index}]"
    # As a number of Python's: one of NumPy's in a group makes a checkpoint that weights_only does not load.
    return checks.number("Scheduler", f"what the schedule of {one.name}{where} gives at step {step}", value)


def _check_functions(name: str, functions: Any, groups: int) -> None:
    if isinstance(functions, Sequence) and not isinstance(functions, str):
        if len(functions) != groups:
            raise ValueError(
                f"Scheduler: {name} has {len(functions)} schedules; the optimizer has {groups} groups, give one for "
                "each, or one for all"
            )
        if all(function is None for function in functions):
            raise ValueError(f"Scheduler: {name} has no schedule for any group; leave it out")
        wrong = next((one for one in functions if one is not None and not callable(one)), None)
    else:
        wrong = None if callable(functions) else functions
    if wrong is not None or functions is None:
        hint = (
            f"; for a multiplier that stays the same use constant({wrong})" if isinstance(wrong, (int, float)) else ""
        )
        raise TypeError(f"Scheduler: {name} must be driven by a schedule or another callable, got {wrong!r}{hint}")
