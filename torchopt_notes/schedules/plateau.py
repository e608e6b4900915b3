"""Reducing hyperparameters when a metric stops improving: :class:`ReduceOnPlateau`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, SupportsFloat

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from . import checks
from .hyperparameter import Hyperparameter, hyperparameter

MODES = ("min", "max")
THRESHOLD_MODES = ("rel", "abs")

_LR = Hyperparameter("lr")


class ReduceOnPlateau(ReduceLROnPlateau):
    """Multiplies hyperparameters with ``factor`` when a metric has stopped improving.

    A ``torch.optim.lr_scheduler.ReduceLROnPlateau``, so that training loops which hand those a metric do so here, for
    any hyperparameter. Call :meth:`step` with the metric after each validation. Do not combine it with a
    :class:`~torchopt_notes.schedules.Scheduler` of the same hyperparameter, which would set it back.

    Args:
        optimizer: any ``torch.optim.Optimizer``.
        hyperparameters: names of what is reduced, such as ``"weight_decay"`` or ``"betas[0]"``. Default ``"lr"``.
        mode: whether smaller (``"min"``, default) or greater (``"max"``) is better.
        factor: in (0, 1), what the value is multiplied with. Default 0.1.
        patience: how many metrics in a row may be no better, ≥ 0; one more, and the value is reduced. Default 10.
        threshold: how much better counts as better, ≥ 0. Default 1e-4.
        threshold_mode: whether ``threshold`` is a share of the best metric (``"rel"``, default) or a difference.
        cooldown: how many metrics after a reduction are not counted, ≥ 0. Default 0.
        min: a value, or one for each group, that is not gone below, ≥ 0. Default 0.
        eps: a reduction by less than this is not made, ≥ 0. Default 1e-8.

    Defaults are torch's.

    Raises:
        TypeError: for something that is no optimizer, or values of a wrong type.
        ValueError: for a hyperparameter that the optimizer does not have (the message lists those it has), a value out
            of range, or a list of another length than ``optimizer.param_groups``; in :meth:`step`, for a metric of NaN.

    >>> import torch, torchopt_notes as optim
    >>> from torchopt_notes import schedules as S
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, weight_decay=0.5)
    >>> plateau = S.ReduceOnPlateau(optimizer, ["lr", "weight_decay"], factor=0.5, patience=1)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     plateau.step(loss)
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]
    (0.5, 0.25)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        hyperparameters: str | Sequence[str] = "lr",
        *,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: {type(optimizer).__name__} is not an Optimizer")
        names = [hyperparameters] if isinstance(hyperparameters, str) else list(hyperparameters)
        if not names:
            raise ValueError(f"{name}: nothing to reduce; name a hyperparameter, such as 'lr'")
        driven = [hyperparameter(name, one, optimizer.param_groups) for one in names]
        twice = sorted({one.name for one in driven if driven.count(one) > 1})
        if twice:
            raise ValueError(f"{name}: {', '.join(twice)} was given twice, and would be reduced twice")
        checks.one_of(name, "mode", mode, MODES)
        checks.one_of(name, "threshold_mode", threshold_mode, THRESHOLD_MODES)
        if not 0 < checks.number(name, "factor", factor) < 1:
            raise ValueError(f"{name}: factor must be > 0 and < 1, got {factor!r}")
        checks.whole(name, patience=patience, cooldown=cooldown)
        checks.non_negative(name, threshold=threshold, eps=eps)
        for least in min if isinstance(min, Sequence) else [min]:
            checks.non_negative(name, min=least)
        groups = len(optimizer.param_groups)
        if isinstance(min, Sequence) and len(min) != groups:
            raise ValueError(
                f"{name}: min has {len(min)} values; the optimizer has {groups} groups, give one for each, or one for "
                "all"
            )
        super().__init__(
            optimizer,
            mode=mode,
            factor=checks.plain(factor),
            patience=checks.plain(patience),
            threshold=checks.plain(threshold),
            threshold_mode=threshold_mode,
            cooldown=checks.plain(cooldown),
            min_lr=list(map(checks.plain, min)) if isinstance(min, Sequence) else checks.plain(min),
            eps=checks.plain(eps),
        )
        self._driven = driven

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Takes the metric of a validation; a tensor of one element is read.

        Raises:
            ValueError: if it is NaN: nothing is better or worse than that. Nothing has changed then.
        """
        if math.isnan(float(metrics)):
            raise ValueError(
                f"{type(self).__name__}: the metric is NaN; it must be a number. Leave the step out for a validation "
                "that gave none, or stop training"
            )
        super().step(metrics, epoch)

    def _reduce_lr(self, epoch: int) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) != len(groups):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"{type(self).__name__}: there were {len(self.min_lrs)} groups, each with its minimum, now there "
                    f"are {len(groups)}; make the list `min_lrs` as long"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for one in self._driven:
            for group, least in zip(groups, self.min_lrs, strict=True):
                old = float(one.read(group))
                new = max(old * self.factor, least)
                if old - new > self.eps:
                    one.write(group, new)

    def state_dict(self) -> dict[str, Any]:
        """What decides about the next reduction, and the present values of what is reduced."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "_driven")}
        state["values"] = {one.name: [one.copy(group) for group in self.optimizer.param_groups] for one in self._driven}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state, with the values that the hyperparameters had there.

        It makes no difference whether the optimizer's state is loaded before or after. A state of torch's class has no
        values; then they are the optimizer's.

        Raises:
            ValueError: for a state with other hyperparameters or another number of groups. Nothing has changed then.
        """
        state = dict(state_dict)
        values = state.pop("values", {})
        groups = self.optimizer.param_groups
        if values and set(values) != {one.name for one in self._driven}:
            raise ValueError(
                f"{type(self).__name__}: the state is of one that reduces {', '.join(values)}; this one reduces "
                f"{', '.join(one.name for one in self._driven)}"
            )
        for name, ones in values.items():
            if len(ones) != len(groups):
                raise ValueError(
                    f"{type(self).__name__}: the state has {len(ones)} values of {name}, one for each group; the "
                    f"optimizer has {len(groups)} groups"
                )
        super().load_state_dict(state)
        for one in self._driven if values else ():
            for group, value in zip(groups, values[one.name], strict=True):
                one.write(group, value)
        self._last_lr = [_LR.copy(group) for group in groups]
