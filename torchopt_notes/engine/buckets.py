"""Buckets: the parameters that one call of a backend serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from .backends import Backend, unsuited
from .layout import state_shape
from .rule import Variant
from .tensor_facts import Facts, comparable
from .transform import Signal

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Member(NamedTuple):
    """One parameter of a bucket."""

    param: Tensor
    group: int
    name: str


class States(NamedTuple):
    """A bucket's states at one step, in the order of its members.

    Attributes:
        dicts: each parameter's state.
        steps: each parameter's step count; empty for a rule that keeps none.
        columns: for each of the bucket's ``state_names``, each parameter's tensor.
        fresh: which states were created just now, or None when none was.
        carried: for each 0-d state that the rule carries on, each parameter's tensor.
    """

    dicts: list[dict[str, Any]]
    steps: list[Tensor]
    columns: list[list[Tensor]]
    fresh: list[bool] | None
    carried: list[list[Tensor]]

    def of(self, i: int) -> list[Tensor]:
        """The state tensors of one parameter."""
        return [column[i] for column in self.columns]


class Runner(Protocol):
    """What a backend makes of a bucket. It may cache what it likes, but keeps no tensor of its users alive."""

    bucket: Bucket

    def fits(self, grads: list[Tensor], states: States) -> bool:
        """Whether the bucket still is what the runner was made for. Called for all buckets before any is run.

        Raises:
            RuntimeError: when the tensors cannot be updated at all.
        """

    def release(self, optimizer: Optimizer, kept: set[int]) -> None:
        """Gives back what states still use of the runner's memory, but for the parameters whose ids are ``kept``."""

    def measure(self, grads: list[Tensor], states: States, order: float) -> Tensor:
        """Partial sums over the gradients for their norm, fp64 [2, any number], as :func:`~.norms.power_sums`."""

    def run(self, optimizer: Optimizer, grads: list[Tensor], states: States, signal: Signal) -> None:
        """Updates parameters and states in place."""


class Kind(NamedTuple):
    """What the parameters of a bucket share."""

    backend: Backend
    reason: str
    device: torch.device
    dtype: torch.dtype
    grad_dtype: torch.dtype
    grad_layout: torch.layout
    variant: Variant
    state_names: tuple[str, ...]
    state_dtypes: tuple[torch.dtype, ...]


@dataclass
class Bucket:
    """Parameters that share backend, device, dtypes and code.

    Attributes:
        relaid: whether any tensor may have another dtype, device, shape or layout than at the last step, be it the same
            or one that has taken its place. Where tensors are is not part of it.
    """

    kind: Kind
    owner: str
    members: list[Member] = field(default_factory=list)
    params: list[Tensor] = field(default_factory=list)
    runner: Runner | None = None
    relaid: bool = True
    _facts: list[Facts] = field(default_factory=list)
    _state_facts: list[Facts] = field(default_factory=list)

    @cached_property
    def numels(self) -> list[int]:
        """How many numbers each parameter holds."""
        return list(map(Tensor.numel, self.params))

    @cached_property
    def shapes(self) -> list[torch.Size]:
        """Each parameter's shape."""
        return list(map(Tensor.size, self.params))

    @cached_property
    def groups(self) -> list[int]:
        """The parameter groups that the members come from."""
        return sorted({member.group for member in self.members})

    @property
    def elements(self) -> int:
        """How many numbers the bucket's parameters hold."""
        return sum(self.numels)

    @cached_property
    def state_numels(self) -> list[list[int]]:
        """For each state name, how many numbers each parameter's state holds."""
        layouts = [self.kind.variant.rule.layout(name) for name in self.kind.state_names]
        return [
            self.numels if layout is None else [state_shape(shape, layout).numel() for shape in self.shapes]
            for layout in layouts
        ]

    def check_state(self, name: str, column: list[Tensor]) -> None:
        """Raises when a state has another size than it must have for its parameter, or is on another device."""
        numels = self.state_numels[self.kind.state_names.index(name)]
        for param, state, numel in zip(self.params, column, numels, strict=True):
            if state.numel() != numel or state.device != param.device:
                raise RuntimeError(
                    f"{self.owner}: the state {name!r} of a parameter of shape {tuple(param.shape)} on {param.device} "
                    f"has shape {tuple(state.shape)} and is on {state.device}; put it right, or delete the parameter's "
                    "state to start afresh"
                )

    def gather(self) -> list[Tensor] | None:
        """This step's gradients, or None when they no longer are what the bucket was built for."""
        grads: list[Any] = [param.grad for param in self.params]
        self.relaid = not self._facts or not all(map(Facts.hold, self._facts, (self.params, grads)))
        if not self.relaid:
            return grads
        if any(grad is None for grad in grads) or not self._still_of_its_kind(grads):
            return None
        # The eager backend takes tensors that torch has no record of, and has as good as nothing to look at.
        if self.kind.backend != "eager" or (comparable(self.params) and comparable(grads)):
            self._facts = [Facts(self.params), Facts(grads)]
        return grads

    def settle_states(self, columns: list[list[Tensor]]) -> None:
        """Looks at the states, unless all are like those of the last step.

        Raises:
            RuntimeError: for a state that has another size than it must have, or is on another device.
        """
        if len(self._state_facts) == len(columns) and all(map(Facts.hold, self._state_facts, columns)):
            return
        self.relaid = True
        for name, column, numels in zip(self.kind.state_names, columns, self.state_numels, strict=True):
            if self.kind.backend != "eager" or list(map(Tensor.numel, column)) != numels:
                self.check_state(name, column)
        if self.kind.backend != "eager":
            self._state_facts = list(map(Facts, columns))

    def _still_of_its_kind(self, grads: list[Tensor]) -> bool:
        """``model.double()`` and ``model.cuda()`` change parameters and gradients in place, as does ``.data =``."""
        kind = self.kind
        if kind.backend != "eager" and any(map(unsuited, self.params, grads)):
            return False
        return (
            list(map(Tensor.size, self.params)) == list(map(Tensor.size, grads)) == self.shapes
            and all(param.dtype is kind.dtype and param.device == kind.device for param in self.params)
            and all(grad.dtype is kind.grad_dtype and grad.layout is kind.grad_layout for grad in grads)
        )


Work: TypeAlias = list[tuple[Runner, list[Tensor], States]]
"""What each bucket's runner needs for a step: gradients and states."""
