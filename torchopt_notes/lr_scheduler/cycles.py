"""Classes that set the learning rate whatever it was: cycles and restarts."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, cast

import torch
import torch.optim.lr_scheduler as torchs
from torch import Tensor
from torch.optim import Optimizer

from ..schedules.cycles import along, cyclic, warm_restarts
from ..schedules.hyperparameter import Group, Hyperparameter, Value
from ..schedules.shapes import cosine
from .closed_form import Restored, made

P = ParamSpec("P")


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
        place = made(warm_restarts, self.T_0, self.T_mult).place(epoch)
        # Fractions, too; torch's annotation knows whole numbers only.
        self.T_cur, self.T_i = cast(int, place.step), cast(int, place.length)
        self.last_epoch = math.floor(epoch)
        self._get_lr_called_within_step = True
        try:
            self.write(self.get_lr())
        finally:
            self._get_lr_called_within_step = False

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch."""
        self.warn_outside_of_step()
        self.adopt_new_groups()
        left = made(cosine, self.T_i).between(self.T_cur)
        return [self.eta_min + (base - self.eta_min) * left for base in self.base_lrs]


class Cycled(Restored):
    """A scheduler that drives momentum too, which comes back with its state like the learning rate."""

    def drive_momentum(self, epoch: int) -> None:
        """Sets the momentum of an epoch."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # One that waits in a SequentialLR is at epoch -1.
        self.drive_momentum(max(self.last_epoch, 0))


def keeping_tensors(constructor: Callable[P, None]) -> Callable[P, None]:
    """torch's constructors replace momentum by a number. A tensor must stay where a captured CUDA graph finds it."""

    @functools.wraps(constructor)
    def construct(*args: P.args, **kwargs: P.kwargs) -> None:
        optimizer = kwargs.get("optimizer", args[1] if len(args) > 1 else None)
        groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
        tensors = [_momentum(group) for group in groups]
        constructor(*args, **kwargs)
        for group, tensor in zip(groups, tensors, strict=True):
            now = _momentum(group)
            if isinstance(tensor, Tensor):
                with torch.no_grad():
                    _replace_momentum(group, tensor.fill_(now))
            elif isinstance(now, Tensor):
                # A bound that was given as a tensor: filled at each step, it would be no bound any more.
                _replace_momentum(group, float(now))

    return construct


def _momentum(group: Group) -> Any:
    return group["betas"][0] if group.get("betas") else group.get("momentum")


def _replace_momentum(group: Group, value: Value) -> None:
    if group.get("betas"):
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CyclicLR(Cycled, torchs.CyclicLR):
    """``torch.optim.lr_scheduler.CyclicLR`` over :class:`~torchopt_notes.schedules.cyclic`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = optim.lr_scheduler.CyclicLR(optimizer, base_lr=0.5, max_lr=1.0, step_size_up=2)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.75]
    """

    __init__ = keeping_tensors(torchs.CyclicLR.__init__)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch; sets the momentum too."""
        self.warn_outside_of_step()
        height = self._height(self.last_epoch)
        self._lower_momentum(height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def drive_momentum(self, epoch: int) -> None:
        self._lower_momentum(self._height(epoch))

    def _lower_momentum(self, height: float) -> None:
        if self.cycle_momentum:
            one, groups = driven_momentum(self.use_beta1), self.optimizer.param_groups
            for group, low, high in zip(groups, self.base_momentums, self.max_momentums, strict=True):
                one.write(group, high - (high - low) * height)

    def _height(self, epoch: int) -> float:
        up = self.total_size * self.step_ratio
        # With step_size_down=0, which torch allows, it drops at once.
        down = max(self.total_size - up, sys.float_info.min)
        counted = math.floor(1 + epoch / self.total_size) if self.scale_mode == "cycle" else epoch
        return made(cyclic, up, down).height(epoch) * self.scale_fn(counted)


class OneCycleLR(Cycled, torchs.OneCycleLR):
    """``torch.optim.lr_scheduler.OneCycleLR`` over :class:`~torchopt_notes.schedules.one_cycle`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=4, pct_start=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [1.0]
    """

    __init__ = keeping_tensors(torchs.OneCycleLR.__init__)

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
        self.drive_momentum(self.last_epoch)
        return [self._along(group, "lr", self.last_epoch) for group in self.optimizer.param_groups]

    def drive_momentum(self, epoch: int) -> None:
        if self.cycle_momentum:
            one = driven_momentum(self.use_beta1)
            for group in self.optimizer.param_groups:
                one.write(group, self._along(group, "momentum", epoch))

    def _along(self, group: Group, kind: Literal["lr", "momentum"], epoch: int) -> Value:
        phases: list[Any] = self._schedule_phases
        start = group[phases[0][f"start_{kind}"]]
        turns = [(phase["end_step"], group[phase[f"end_{kind}"]]) for phase in phases]
        return along(start, turns, epoch, self._anneal_func_type)


def driven_momentum(use_beta1: bool) -> Hyperparameter:
    """What a cycle drives besides the learning rate."""
    return Hyperparameter("betas", 0) if use_beta1 else Hyperparameter("momentum")
