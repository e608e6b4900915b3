"""How a scheduler of torch's becomes a function of ``last_epoch``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ..schedules.hyperparameter import Hyperparameter, Value

LR = Hyperparameter("lr")

# How far from the closed form a learning rate may be to count as what this scheduler has set: more than
# torch's rounding adds up to, less than what anybody sets by hand.
SAME, SAME_TENSOR = 1e-9, 1e-6


class Restored(LRScheduler):
    """A scheduler whose learning rates come back with its state, whether or not the optimizer's does too."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state of this class or of torch's, and sets the learning rates that it ended with.

        Raises:
            ValueError: if the optimizer has another number of groups. Nothing has changed then.
        """
        groups = self.optimizer.param_groups
        lrs = state_dict.get("_last_lr")
        if lrs is not None and len(lrs) != len(groups):
            raise ValueError(
                f"{type(self).__name__}: the state has {len(lrs)} learning rates, the optimizer {len(groups)} groups"
            )
        super().load_state_dict(state_dict)
        if lrs is not None:
            self.write(lrs)

    def write(self, lrs: Sequence[Value]) -> None:
        """Sets the learning rates of all groups."""
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            LR.write(group, lr)
        self._last_lr = [LR.copy(group) for group in self.optimizer.param_groups]

    def adopt_new_groups(self) -> None:
        """The lr that a group is added with is its base."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", LR.copy(group)))

    def warn_outside_of_step(self) -> None:
        """Warns somebody who calls ``get_lr``."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


class ClosedForm(Restored):
    r"""A learning rate that is a function of the epoch, and that others may change too.

    .. math::
        \eta_t = \text{floor} + (\eta_{base} - \text{floor}) \cdot \text{multiplier}(t)

    as long as nobody else sets it. torch goes from each value to the next instead, so that two schedulers of one
    optimizer, or one and a factor set by hand, work together. So where the present value is not the one that belongs to
    the epoch before, this goes from that to the next as well.
    """

    floor: float = 0.0

    def multiplier(self, epoch: int) -> float:
        """What the base value is multiplied with."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the present epoch."""
        self.warn_outside_of_step()
        self.adopt_new_groups()
        # The first step, made by the constructor, has no epoch before; if resumed, nothing else is known than the base.
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        before, now = self._multiplier(self.last_epoch - 1), self._multiplier(self.last_epoch)
        return [
            _next(LR.read(group), base, self.floor, before, now)
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        self.adopt_new_groups()
        now = self._multiplier(self.last_epoch)
        return [self.floor + (base - self.floor) * now for base in self.base_lrs]

    def go_to_from_here(self, epoch: int) -> None:
        """To any epoch at once, with the present learning rates for bases."""
        self.last_epoch = epoch
        now = self._multiplier(epoch)
        lrs = [LR.copy(group) for group in self.optimizer.param_groups]
        self.write([self.floor + (lr - self.floor) * now for lr in lrs])

    def _multiplier(self, epoch: int) -> float:
        return self.multiplier(epoch) if epoch >= 0 else 1.0

    def adopt_new_groups(self) -> None:
        """The lr that a group is added with is the one it has now, as with torch, unless it says what its base is."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            if "initial_lr" not in group:
                now = self._multiplier(self.last_epoch - 1)
                lr = LR.copy(group)
                group["initial_lr"] = self.floor + (lr - self.floor) / now if now else lr
            self.base_lrs.append(group["initial_lr"])


def _next(lr: Value, base: Value, floor: float, before: float, now: float) -> Value:
    """The learning rate after ``lr``, as the multiplier goes from ``before`` to ``now``."""
    ours, closed = floor + (base - floor) * before, floor + (base - floor) * now
    # From the floor no factor leads away. torch adds there, too.
    chained = floor + (lr - floor) * (now / before) if before else lr + (base - floor) * now
    if isinstance(lr, Tensor):
        # Asked on the device, where the answer is.
        expected = torch.as_tensor(ours, dtype=lr.dtype, device=lr.device)
        return torch.where(torch.isclose(lr, expected, rtol=SAME_TENSOR, atol=0.0), closed, chained)
    return closed if abs(lr - float(ours)) <= SAME * abs(float(ours)) else chained
