"""How a scheduler of torch's becomes a function of ``last_epoch``."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ..schedules.hyperparameter import Hyperparameter, Value

Made = TypeVar("Made")

LR = Hyperparameter("lr")

# How far from the closed form a learning rate may be to count as what this scheduler has set: more than
# torch's rounding adds up to, less than what anybody sets by hand.
SAME, SAME_TENSOR = 1e-9, 1e-6


def made(kind: Callable[..., Made], *arguments: Any) -> Made:
    """A schedule. Each is made, and its arguments checked, only once, so that a step is as fast as torch's."""
    return cast(Made, _made(kind, *arguments))


@functools.lru_cache(maxsize=256)
def _made(kind: Callable[..., Any], *arguments: Any) -> Any:
    return kind(*arguments)


class Restored(LRScheduler):
    """A scheduler whose learning rates come back with its state, whatever else comes back and when."""

    def state_dict(self) -> dict[str, Any]:
        """As torch's, but ``_last_lr`` has the present learning rates, which others may have changed since."""
        return super().state_dict() | {"_last_lr": self._present()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state of this class or of torch's, and with the learning rates that it ended with.

        Those that constructing this has set are replaced. If others are there, the optimizer's state has been loaded
        since, or another scheduler's, and they stay.

        Raises:
            ValueError: if the optimizer has another number of groups. Nothing has changed then.
        """
        groups = self.optimizer.param_groups
        lrs = state_dict.get("_last_lr")
        if lrs is not None and len(lrs) != len(groups):
            raise ValueError(
                f"{type(self).__name__}: the state has {len(lrs)} learning rates, the optimizer {len(groups)} groups"
            )
        untouched = self._last_lr == self._present()
        # torch's CyclicLR takes a part out of what it is given.
        super().load_state_dict(dict(state_dict))
        if lrs is not None and untouched:
            self.write(lrs)

    def write(self, lrs: Sequence[Value]) -> None:
        """Sets the learning rates of all groups."""
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            LR.write(group, lr.clone() if isinstance(lr, Tensor) else lr)
        self._last_lr = self._present()

    def _present(self) -> list[Value]:
        return [LR.copy(group) for group in self.optimizer.param_groups]

    def adopt_new_groups(self) -> None:
        """The lr that a group is added with is its base."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            # Not in place: somebody may have the list in a state.
            self.base_lrs = [*self.base_lrs, group.setdefault("initial_lr", LR.copy(group))]

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
        # The first step is the constructor's. After epoch 0 it resumes.
        next_lr = _resumed if self._step_count == 1 and self.last_epoch > 0 else _next
        before, now = self._multiplier(self.last_epoch - 1), self._multiplier(self.last_epoch)
        return [
            next_lr(LR.read(group), base, self.floor, before, now)
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        self.adopt_new_groups()
        now = self._multiplier(self.last_epoch)
        return [self.floor + (base - self.floor) * now for base in self.base_lrs]

    def _multiplier(self, epoch: int) -> float:
        return self.multiplier(epoch) if epoch >= 0 else 1.0

    def adopt_new_groups(self) -> None:
        """The lr that a group is added with is the one it has now, as with torch, unless it says what its base is."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            if "initial_lr" not in group:
                now = self._multiplier(self.last_epoch - 1)
                lr = LR.copy(group)
                group["initial_lr"] = self.floor + (lr - self.floor) / now if now else lr
            self.base_lrs = [*self.base_lrs, group["initial_lr"]]


def _resumed(lr: Value, base: Value, floor: float, before: float, now: float) -> Value:
    """The learning rate to resume with, if it was ``lr`` and the multiplier goes from ``before`` to ``now``.

    One that is neither the base nor one of this scheduler's own comes with the optimizer's state, and others have had
    their part in it.
    """
    closed = floor + (base - floor) * now
    own = (base, floor + (base - floor) * before, closed)
    if any(_same(lr, one) for one in own):
        return closed
    return lr.clone() if isinstance(lr, Tensor) else lr


def _same(lr: Value, expected: Value) -> bool:
    share = SAME_TENSOR if isinstance(lr, Tensor) else SAME
    return abs(float(lr) - float(expected)) <= share * abs(float(expected))


def _next(lr: Value, base: Value, floor: float, before: float, now: float) -> Value:
    """The learning rate after ``lr``, as the multiplier goes from ``before`` to ``now``."""
    ours, closed = floor + (base - floor) * before, floor + (base - floor) * now
    # From the floor no factor leads away. torch adds there, too.
    chained = floor + (lr - floor) * (now / before) if before else lr + (base - floor) * now
    if isinstance(lr, Tensor):
        # Asked on the device, where the answer is.
        expected = torch.as_tensor(ours, dtype=lr.dtype, device=lr.device)
        return torch.where(torch.isclose(lr, expected, rtol=SAME_TENSOR, atol=0.0), closed, chained)
    return closed if _same(lr, ours) else chained
