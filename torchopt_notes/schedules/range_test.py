"""How large the learning rate may be: :func:`lr_range_test` raises it until the loss explodes, and undoes it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ..engine.options import REFERENCE_LR
from . import checks
from .hyperparameter import Hyperparameter, hyperparameter
from .undo import undone

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME = "lr_range_test"
_LR = Hyperparameter("lr")
_REFERENCE = Hyperparameter(REFERENCE_LR)

LEAST_POINTS = 10
"""With fewer losses than this nothing is suggested: their slopes are noise."""


@dataclass(frozen=True, repr=False)
class RangeTest:
    r"""What :func:`lr_range_test` saw.

    Attributes:
        lrs: the learning rates, per step, of the group with the largest one.
        losses: the loss of each step's batch, before the step: what the steps before it led to.
        smoothed: ``losses``, smoothed.
        diverged: whether the test ended because the loss exploded, at the last of ``lrs``.

    >>> lrs = tuple(10.0**i for i in range(-6, 6))
    >>> RangeTest(lrs, losses=(9,) * 5 + (8, 5, 3, 2, 7, 9, 9), smoothed=(9,) * 5 + (8, 5, 3, 2, 7, 9, 9))
    RangeTest(12 steps, lr 1e-06 to 1e+05, suggestion 0.1)
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool = False

    @property
    def suggestion(self) -> float | None:
        r"""The learning rate of the step after which the smoothed loss fell fastest, on its way to its lowest value.

        .. math::
            \arg\min_{\eta_i} \, (\hat s_{i+1} - \hat s_i) / (\log \eta_{i+1} - \log \eta_i)

        The first tenth of the points, of which noise is left, and the last twentieth do not count, as in fastai (of 100
        points, 10 and 5). None if the loss never fell there, or of fewer than 10 points. What comes after the lowest
        value does not count either: a loss that has exploded often falls faster than training ever made it fall.
        """
        points = len(self.smoothed)
        first, last = points // 10, points - points // 20 - self.diverged
        if points < LEAST_POINTS:
            return None
        lowest = min(range(first, last), key=self.smoothed.__getitem__)
        steepest = min(range(first, lowest), key=self._slope, default=None)
        return None if steepest is None or self._slope(steepest) >= 0 else self.lrs[steepest]

    def _slope(self, i: int) -> float:
        return (self.smoothed[i + 1] - self.smoothed[i]) / math.log(self.lrs[i + 1] / self.lrs[i])

    def plot(self) -> Figure:
        """A matplotlib figure of the losses over the learning rate, with the suggestion marked.

        Raises:
            ImportError: if matplotlib is missing; the extra ``cli`` brings it.
        """
        from .plotting import plot_range_test

        return plot_range_test(self)

    def __repr__(self) -> str:
        ended = ", diverged" if self.diverged else ""
        suggestion = None if self.suggestion is None else f"{self.suggestion:.3g}"
        between = f"lr {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}" if self.lrs else "no lr"
        return f"RangeTest({len(self.lrs)} steps, {between}{ended}, suggestion {suggestion})"


def lr_range_test(
    model: Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Iterable[Any],
    optimizer: Optimizer,
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    stop_at: float = 4.0,
) -> RangeTest:
    r"""Trains for a few steps with a learning rate that grows exponentially, and records the loss.

    .. math::
        \eta_i &= \text{start} \cdot (\text{end} / \text{start})^{i / (\text{steps} - 1)} \\
        s_i &= \beta s_{i-1} + (1 - \beta) \ell_i \qquad \hat s_i = s_i / (1 - \beta^{i+1})

    It ends early when :math:`\hat s_i` is more than ``stop_at`` times its lowest value so far, or not finite. Reading
    the loss waits for the device in each step.

    Everything is then as it was, also after an exception: parameters and buffers, gradients, the optimizer's state and
    groups, other attributes of both that are tensors, plain values or containers of them, and the random states of
    Python, NumPy, torch and a ``DataLoader``'s generator. Training from there gives the same bits as without the test.
    Meanwhile there are copies of all these tensors, on the devices where the originals are. What happens inside of
    other objects is not undone, nor what hooks do elsewhere.

    The model is in the mode it is in: call ``model.train()`` before. Of several groups, the one with the largest
    learning rate gets :math:`\eta_i`, and the others keep their ratio to it; to take a suggestion over, multiply all
    rates by suggestion / largest. Ratios are those of ``initial_lr``, where a scheduler has put that into all groups,
    else of ``lr``. With ``decouple_lr``, penalties do not grow with the learning rate here either. An optimizer that
    does not read lr in each step, such as :class:`~torchopt_notes.Rprop`, cannot be tested. It is for one process:
    several would each stop at a loss of their own.

    Args:
        model: the module to train.
        loss_fn: called as ``loss_fn(model(inputs), targets)``; returns a tensor of one element. Losses are meant to be
            > 0; see ``stop_at``.
        batches: gives pairs (inputs, targets), such as a ``DataLoader`` or a list; begun anew when at its end. An
            iterator cannot be: the test ends with it, and what it gave is gone. Inputs in a tuple or list (but no named
            tuple) are passed as ``model(*inputs)``, those in a dict as ``model(**inputs)``. All tensors are moved to
            the model's device, unless its parameters are on several.
        optimizer: the optimizer of the model's parameters, any ``torch.optim.Optimizer`` whose step needs no closure.
        start, end: the learning rates of the first and of the last step, 0 < start < end. Defaults 1e-7 and 10, as in
            fastai's ``lr_find``.
        steps: how many, ≥ 2. Default 100, as there.
        smoothing: β in [0, 1): how much of the smoothed loss stays in each step. Default 0.9, which forgets in about
            10 steps; fastai's 0.98 hardly forgets anything within 100.
        stop_at: > 1, how many times its lowest value the smoothed loss may reach. Default 4, as in fastai.
            ``inf``: the test ends early only for a loss that is not finite. For a loss below 0, the rise is
            measured against its absolute value; where it passes through 0, use ``inf``.

    Returns:
        The learning rates and losses, a suggestion, and a plot of them.

    Raises:
        ImportError, in the result's ``plot``: if matplotlib is missing; the extra ``cli`` brings it.
        TypeError: for arguments of a wrong type, batches that are no pairs, or a loss that is no tensor of one element.
        ValueError: for a value out of range, lazy parameters, groups without a number ``lr``, no batch at all, or an
            optimizer whose parameters get no gradient from the loss.

    >>> import torch
    >>> from torchopt_notes import schedules as S
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batches = [(torch.ones(8, 1), torch.zeros(8, 1))]  # the loss is w²: rates above 1 overshoot ever more
    >>> found = S.lr_range_test(model, torch.nn.functional.mse_loss, batches, optimizer)
    >>> found.diverged, 0.01 < found.suggestion < 1 < found.lrs[-1]
    (True, True)
    >>> optimizer.param_groups[0]["lr"]
    0.1

    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3; the
    exponential growth, smoothing and early end are those of Gugger 2018, "How Do You Find A Good Learning Rate", and
    fastai.
    """
    _check(model, loss_fn, batches, optimizer)
    first, last = _check_range(start, end, steps)
    beta, limit = _check_smoothing(smoothing, stop_at)
    shares = _shares(optimizer)
    count = int(steps)
    rates = [first ** (1 - i / (count - 1)) * last ** (i / (count - 1)) for i in range(count)]
    with undone(model, optimizer, batches):
        course = _Course(beta, limit)
        for lr, (inputs, targets) in zip(rates, _pairs(batches, _device(model)), strict=False):
            with torch.enable_grad():
                loss = _loss(loss_fn(_call(model, inputs), targets))
            if course.take(lr, loss.item()):
                break
            _set(optimizer, lr, shares)
            _step(model, optimizer, loss)
    if not course.losses:
        raise ValueError(
            f"{_NAME}: batches gave no batch at all; an iterator that has been used up cannot be used again"
        )
    return course.result()


class _Course:
    """The losses so far, and whether it is time to stop."""

    def __init__(self, beta: float, limit: float) -> None:
        self.beta, self.limit = beta, limit
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._sum = 0.0
        self._best = math.inf

    def take(self, lr: float, loss: float) -> bool:
        """Adds a loss; returns whether it has exploded."""
        self.lrs.append(lr)
        self.losses.append(loss)
        self._sum = self.beta * self._sum + (1 - self.beta) * loss
        value = self._sum / (1 - self.beta ** len(self.losses))
        self.smoothed.append(value)
        self._best = min(self._best, value)
        rise = (self.limit - 1) * abs(self._best) if self.limit != math.inf else math.inf
        self.diverged = not math.isfinite(value) or value > self._best + rise
        return self.diverged

    def result(self) -> RangeTest:
        return RangeTest(tuple(self.lrs), tuple(self.losses), tuple(self.smoothed), self.diverged)


def _shares(optimizer: Optimizer) -> list[float]:
    """Each group's learning rate, as a part of the largest one."""
    groups = optimizer.param_groups
    hyperparameter(_NAME, "lr", groups)
    known = "initial_lr" if all("initial_lr" in group for group in groups) else "lr"
    rates = [float(group[known]) for group in groups]
    checks.non_negative(_NAME, **{f"{known} of group {i}": rate for i, rate in enumerate(rates)})
    largest = max(rates)
    return [rate / largest if largest else 1.0 for rate in rates]


def _set(optimizer: Optimizer, lr: float, shares: list[float]) -> None:
    for group, share in zip(optimizer.param_groups, shares, strict=True):
        _LR.write(group, lr * share)
        # What `decouple_lr` divides by is the first lr, which would be this one in a training with it.
        if REFERENCE_LR in group and share:
            _REFERENCE.write(group, lr * share)


def _call(model: Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    # A named tuple is one input, such as a packed sequence.
    if isinstance(inputs, (tuple, list)) and not hasattr(inputs, "_fields"):
        return model(*inputs)
    return model(inputs)


def _loss(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor):
        raise TypeError(f"{_NAME}: loss_fn must return a tensor of one element, got {type(loss).__name__}")
    if loss.numel() != 1 or loss.is_complex():
        raise TypeError(
            f"{_NAME}: loss_fn must return a tensor of one real element, got {loss.dtype} of shape "
            f"{tuple(loss.shape)}; take the mean, as the losses in torch.nn do"
        )
    return loss


def _step(model: Module, optimizer: Optimizer, loss: Tensor) -> None:
    trained = [param for group in optimizer.param_groups for param in group["params"]]
    for param in (*model.parameters(), *trained):
        param.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    if all(param.grad is None for param in trained):
        raise ValueError(
            f"{_NAME}: no parameter of the optimizer gets a gradient from the loss; make the optimizer from this "
            "model's parameters"
        )
    optimizer.step()


def _device(model: Module) -> torch.device | None:
    """Where all of the model's parameters are; None if they are in several places."""
    devices = {param.device for param in model.parameters()}
    return devices.pop() if len(devices) == 1 else None


def _pairs(batches: Iterable[Any], device: torch.device | None) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets, over and over; an iterator gives nothing the second time."""
    given = True
    while given:
        given = False
        for batch in batches:
            given = True
            if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
                size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
                raise TypeError(f"{_NAME}: batches must give pairs (inputs, targets), got {type(batch).__name__}{size}")
            yield _moved(batch[0], device), _moved(batch[1], device)


def _moved(value: Any, device: torch.device | None) -> Any:
    if device is None:
        return value
    if isinstance(value, Mapping):
        return {key: _moved(one, device) for key, one in value.items()}
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        ones = [_moved(one, device) for one in value]
        return type(value)(*ones) if hasattr(value, "_fields") else type(value)(ones)
    return value


def _check(model: Any, loss_fn: Any, batches: Any, optimizer: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"{_NAME}: model must be a torch.nn.Module, got {type(model).__name__}")
    if not callable(loss_fn):
        raise TypeError(f"{_NAME}: loss_fn must be callable as loss_fn(outputs, targets), got {loss_fn!r}")
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise TypeError(f"{_NAME}: batches must give pairs (inputs, targets), got {type(batches).__name__}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{_NAME}: {type(optimizer).__name__} is not an Optimizer")
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        raise ValueError(f"{_NAME}: lazy parameters have no shape to return to; call the model with one batch before")


def _check_range(start: Any, end: Any, steps: Any) -> tuple[float, float]:
    checks.positive(_NAME, start=start, end=end)
    first, last = checks.number(_NAME, "start", start), checks.number(_NAME, "end", end)
    if not first < last:
        raise ValueError(f"{_NAME}: start must be < end, got start={start!r} and end={end!r}")
    checks.steps(_NAME, least=2, steps=steps)
    if steps % 1:
        raise ValueError(f"{_NAME}: steps must be a whole number, got {steps!r}")
    return first, last


def _check_smoothing(smoothing: Any, stop_at: Any) -> tuple[float, float]:
    beta = checks.number(_NAME, "smoothing", smoothing)
    if not 0 <= beta < 1:
        raise ValueError(f"{_NAME}: smoothing must be >= 0 and < 1, got {smoothing!r}")
    limit = math.inf if stop_at == math.inf else checks.number(_NAME, "stop_at", stop_at)
    if not limit > 1:
        raise ValueError(f"{_NAME}: stop_at must be > 1, or inf, got {stop_at!r}")
    return beta, limit
