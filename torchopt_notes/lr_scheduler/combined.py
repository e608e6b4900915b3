"""Several schedulers on one optimizer: one after the other, or all at once."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence

import torch.optim.lr_scheduler as torchs
from torch.optim import Optimizer

from .closed_form import ClosedForm, Restored


class SequentialLR(Restored, torchs.SequentialLR):
    """``torch.optim.lr_scheduler.SequentialLR``, which can be resumed.

    torch's goes on from whatever learning rate it finds, which is the one that constructing it has set unless the
    optimizer's state is loaded after that, and it takes ``last_epoch`` for itself but not for its schedulers. Here both
    lead to the learning rates of an uninterrupted run, and :class:`ChainedScheduler` may be one in the row.

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
        if last_epoch != -1:
            self.go_to(last_epoch + 1)

    def step(self) -> None:  # type: ignore[override]
        """To the next epoch."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            go_to(self._schedulers[index], 0)
        else:
            self._schedulers[index].step()
        self._last_lr = self._schedulers[index].get_last_lr()

    def go_to(self, epoch: int) -> None:
        """To any epoch at once."""
        self.last_epoch = epoch
        index = bisect_right(self._milestones, epoch)
        go_to(self._schedulers[index], epoch - (self._milestones[index - 1] if index else 0))
        self._last_lr = self._schedulers[index].get_last_lr()


class ChainedScheduler(Restored, torchs.ChainedScheduler):
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

    def go_to(self, epoch: int) -> None:
        """To any epoch at once, from the base values."""
        self.write([group["initial_lr"] for group in self.optimizer.param_groups])
        for scheduler in self._schedulers:
            if isinstance(scheduler, ClosedForm):
                scheduler.go_to_from_here(epoch)
            else:
                go_to(scheduler, epoch)
        self._last_lr = self._schedulers[-1].get_last_lr()


def go_to(scheduler: torchs.LRScheduler, epoch: int) -> None:
    """To an epoch of a scheduler that has waited for its turn."""
    if isinstance(scheduler, (SequentialLR, ChainedScheduler)):
        scheduler.go_to(epoch)
        return
    with warnings.catch_warnings():
        # That an epoch is passed is deprecated; the scheduler's user has not done it.
        warnings.simplefilter("ignore", UserWarning)
        scheduler.step(epoch)
