"""Classes that multiply: what torch calls chainable, and the two that take any function."""

from __future__ import annotations

import math
from typing import Any

import torch.optim.lr_scheduler as torchs
from torch import Tensor

from ..schedules import Schedule, exponential, linear, multistep, polynomial, step_decay
from .closed_form import ClosedForm, Restored, made


class StepLR(ClosedForm, torchs.StepLR):
    """``torch.optim.lr_scheduler.StepLR`` over :class:`~torchopt_notes.schedules.step_decay`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    def multiplier(self, epoch: int) -> float:
        return made(step_decay, self.step_size, self.gamma)(epoch)


class MultiStepLR(ClosedForm, torchs.MultiStepLR):
    """``torch.optim.lr_scheduler.MultiStepLR`` over :class:`~torchopt_notes.schedules.multistep`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5], gamma=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    def multiplier(self, epoch: int) -> float:
        return made(multistep, tuple(self.milestones.elements()), self.gamma)(epoch)


class ConstantLR(ClosedForm, torchs.ConstantLR):
    """``torch.optim.lr_scheduler.ConstantLR`` over :class:`~torchopt_notes.schedules.constant`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> scheduler.get_last_lr()
    [0.5]
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [1.0]
    """

    def multiplier(self, epoch: int) -> float:
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(ClosedForm, torchs.LinearLR):
    """``torch.optim.lr_scheduler.LinearLR`` over :class:`~torchopt_notes.schedules.linear`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.75]
    """

    def multiplier(self, epoch: int) -> float:
        return made(linear, self.total_iters, self.start_factor, self.end_factor)(epoch)


class ExponentialLR(ClosedForm, torchs.ExponentialLR):
    """``torch.optim.lr_scheduler.ExponentialLR`` over :class:`~torchopt_notes.schedules.exponential`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    def multiplier(self, epoch: int) -> float:
        return made(exponential, self.gamma)(epoch)


class PolynomialLR(ClosedForm, torchs.PolynomialLR):
    """``torch.optim.lr_scheduler.PolynomialLR`` over :class:`~torchopt_notes.schedules.polynomial`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=2, power=2.0)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def multiplier(self, epoch: int) -> float:
        return made(_polynomial, self.total_iters, self.power)(epoch)


def _polynomial(steps: float, power: float) -> Schedule:
    return polynomial(steps, power=power)


class CosineAnnealingLR(ClosedForm, torchs.CosineAnnealingLR):
    """``torch.optim.lr_scheduler.CosineAnnealingLR``.

    After ``T_max`` it rises again, as torch's does, where :class:`~torchopt_notes.schedules.cosine` stays at the end.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2, eta_min=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.75]
    """

    @property
    def floor(self) -> float:  # type: ignore[override]
        return self.eta_min

    def multiplier(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class OfFunctions(Restored):
    """What has a function for each group, or one for all of them, also for those that are added later."""

    lr_lambdas: list[Any]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch."""
        if len({id(function) for function in self.lr_lambdas}) == 1:
            self.adopt_new_groups()
            self.lr_lambdas = self.lr_lambdas[:1] * len(self.base_lrs)
        return super().get_lr()

    def state_dict(self) -> dict[str, Any]:
        """As torch's; schedules are left out, like functions."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, Schedule) else saved
            for function, saved in zip(self.lr_lambdas, state["lr_lambdas"], strict=True)
        ]
        return state


class LambdaLR(OfFunctions, torchs.LambdaLR):
    """``torch.optim.lr_scheduler.LambdaLR``; a :class:`~torchopt_notes.schedules.Schedule` will do for a function.

    >>> import torch, torchopt_notes as optim
    >>> from torchopt_notes import schedules as S
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.LambdaLR(optimizer, S.linear(2))
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """


class MultiplicativeLR(OfFunctions, torchs.MultiplicativeLR):
    """``torch.optim.lr_scheduler.MultiplicativeLR``: a product of factors, and so the one class that must accumulate.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 1 / (epoch + 1))
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """
