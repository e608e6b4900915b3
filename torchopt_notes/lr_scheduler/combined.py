"""Several schedulers on one optimizer: one after the other, or all at once."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch.optim.lr_scheduler as torchs
from torch.optim import Optimizer

from .closed_form import LR, Restored

COMBINED = (torchs.SequentialLR, torchs.ChainedScheduler)


class Combined(Restored):
    """Several schedulers of the same learning rates."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # What a state of torch's has as the last learning rates of a scheduler that waits or is done is out of date.
        super().load_state_dict({**state_dict, "_schedulers": _with_last_lr(state_dict)})

    def go_to(self, epoch: int) -> None:
        """To any epoch at once."""
        go_to(self, epoch)

    def _initial_step(self) -> None:
        # A SequentialLR around this one asks for its epoch 0. torch's makes a step, which is one too many.
        self.go_to(0)


class SequentialLR(Combined, torchs.SequentialLR):
    """``torch.optim.lr_scheduler.SequentialLR``, which can be resumed.

    torch's goes on from whatever learning rate it finds, which is the one that constructing it has set unless the
    optimizer's state is loaded after that, and it takes ``last_epoch`` for itself but not for its schedulers. Here both
    lead to the learning rates of an uninterrupted run, and any place in the row may have a :class:`ChainedScheduler` or
    another :class:`SequentialLR`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> first = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=9)
    >>> then = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    >>> scheduler = optim.lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[1])
    >>> scheduler.get_last_lr()
    [0.5]
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[torchs.LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, schedulers, milestones, last_epoch)
        if last_epoch != -1 or isinstance(self._schedulers[_running(self)], COMBINED):
            self.go_to(last_epoch + 1)

    def step(self) -> None:  # type: ignore[override]
        """To the next epoch."""
        self.last_epoch += 1
        index = _running(self)
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            go_to(self._schedulers[index], 0)
        else:
            self._schedulers[index].step()
        self._last_lr = self._schedulers[index].get_last_lr()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # Once more without those that wait: momentum is as the cycle that ran last has left it.
        states = _with_last_lr(state_dict)
        for scheduler, state in zip(self._schedulers[: _running(self) + 1], states, strict=False):
            scheduler.load_state_dict(state)


class ChainedScheduler(Combined, torchs.ChainedScheduler):
    """``torch.optim.lr_scheduler.ChainedScheduler``: each step is one of all its schedulers, in their order.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> first = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=9)
    >>> second = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = optim.lr_scheduler.ChainedScheduler([first, second], optimizer=optimizer)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, schedulers: Sequence[torchs.LRScheduler], optimizer: Optimizer | None = None) -> None:
        super().__init__(schedulers, optimizer)


def go_to(scheduler: torchs.LRScheduler, epoch: int) -> None:
    """To an epoch of a scheduler that has waited for its turn; of torch's, too."""
    if isinstance(scheduler, torchs.SequentialLR):
        scheduler.last_epoch = epoch
        index = _running(scheduler)
        begins = [0, *scheduler._milestones[:index]]
        for one, begin, end in zip(scheduler._schedulers, begins, [*begins[1:], epoch + 1], strict=False):
            # To the last epoch of each one before, too: momentum stays as a cycle has left it.
            if end > begin:
                go_to(one, end - 1 - begin)
        scheduler._last_lr = scheduler._schedulers[index].get_last_lr()
    elif isinstance(scheduler, torchs.ChainedScheduler):
        groups = scheduler.optimizer.param_groups
        for group in groups:
            LR.write(group, group.setdefault("initial_lr", LR.copy(group)))
        for one in scheduler._schedulers:
            _go_to_from_here(one, epoch)
        scheduler._last_lr = [LR.copy(group) for group in groups]
    elif isinstance(scheduler, torchs.CosineAnnealingWarmRestarts) or not hasattr(scheduler, "_update_lr"):
        with warnings.catch_warnings():
            # That an epoch is passed is deprecated; the scheduler's user has not done it.
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step(epoch)
    else:
        scheduler._update_lr(epoch)


def _go_to_from_here(scheduler: torchs.LRScheduler, epoch: int) -> None:
    """To an epoch of a scheduler in a chain, which multiplies what those before it have made."""
    if not hasattr(scheduler, "_get_closed_form_lr"):
        go_to(scheduler, epoch)
        return
    bases = scheduler.base_lrs
    scheduler.base_lrs = [LR.copy(group) for group in scheduler.optimizer.param_groups]
    go_to(scheduler, epoch)
    scheduler.base_lrs = bases


def _running(scheduler: torchs.SequentialLR) -> int:
    return bisect_right(scheduler._milestones, scheduler.last_epoch)


def _with_last_lr(state_dict: dict[str, Any]) -> list[dict[str, Any]]:
    last = {"_last_lr": state_dict["_last_lr"]} if "_last_lr" in state_dict else {}
    return [{**state, **last} for state in state_dict["_schedulers"]]
