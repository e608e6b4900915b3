"""Classes that set the learning rate whatever it was: cycles and restarts."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch.optim.lr_scheduler as torchs
from torch import Tensor

from ..schedules.cycles import along, cyclic, warm_restarts
from ..schedules.hyperparameter import Group, Hyperparameter, Value
from ..schedules.shapes import cosine
from .closed_form import Restored


class CosineAnnealingWarmRestarts(Restored, torchs.CosineAnnealingWarmRestarts):
    """``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`` over :class:`~torchopt_notes.schedules.warm_restarts`.

    Which run an epoch belongs to is worked out anew each time, so that restarts are found after ``last_epoch`` and at
    the first epoch of a run too, where torch's logarithm may round to the run before.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    def step(self, epoch: float | None = None) -> None:
        """To the next epoch, or to ``epoch``, which may be a fraction."""
        if epoch is None:
            # The fraction of the last one stays, as with torch.
            epoch = self.last_epoch + 1 + (self.T_cur % 1 if self.last_epoch >= 0 else 0)
        elif epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        place = warm_restarts(self.T_0, self.T_mult).place(epoch)
        # Fractions, too; torch's annotation knows whole numbers only.
        self.T_cur, self.T_i = cast(int, place.step), cast(int, place.length)
        self.last_epoch = math.floor(epoch)
        self.write(self._values())

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch."""
        self.warn_outside_of_step()
        return self._values()

    def _values(self) -> list[float | Tensor]:
        self.adopt_new_groups()
        left = cosine(self.T_i).between(self.T_cur)
        return [self.eta_min + (base - self.eta_min) * left for base in self.base_lrs]


class CyclicLR(Restored, torchs.CyclicLR):
    """``torch.optim.lr_scheduler.CyclicLR`` over :class:`~torchopt_notes.schedules.cyclic`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = optim.lr_scheduler.CyclicLR(optimizer, base_lr=0.5, max_lr=1.0, step_size_up=2)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.75]
    """

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch; sets the momentum too."""
        self.warn_outside_of_step()
        up = self.total_size * self.step_ratio
        height = cyclic(up, self.total_size - up).height(self.last_epoch)
        counted = math.floor(1 + self.last_epoch / self.total_size) if self.scale_mode == "cycle" else self.last_epoch
        scale = self.scale_fn(counted)
        if self.cycle_momentum:
            one = driven_momentum(self.use_beta1)
            groups = self.optimizer.param_groups
            for group, low, high in zip(groups, self.base_momentums, self.max_momentums, strict=True):
                one.write(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class OneCycleLR(Restored, torchs.OneCycleLR):
    """``torch.optim.lr_scheduler.OneCycleLR`` over :class:`~torchopt_notes.schedules.one_cycle`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=4, pct_start=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [1.0]
    """

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present step; sets the momentum too.

        Raises:
            ValueError: after ``total_steps``.
        """
        self.warn_outside_of_step()
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}"
            )
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            one = driven_momentum(self.use_beta1)
            for group in groups:
                one.write(group, self._along(group, "momentum"))
        return [self._along(group, "lr") for group in groups]

    def _along(self, group: Group, kind: Literal["lr", "momentum"]) -> Value:
        phases: list[Any] = self._schedule_phases
        start = group[phases[0][f"start_{kind}"]]
        turns = [(phase["end_step"], group[phase[f"end_{kind}"]]) for phase in phases]
        return along(start, turns, self.last_epoch, self._anneal_func_type)


def driven_momentum(use_beta1: bool) -> Hyperparameter:
    """What a cycle drives besides the learning rate."""
    return Hyperparameter("betas", 0) if use_beta1 else Hyperparameter("momentum")
