"""Two optimizers through one scenario: equal starts, equal gradients, and what both have after every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from .oracle import Bounds, Factory, Inputs, all_bounds, dense
from .scenarios import Event, Scenario, Source, group_options


class Float64:
    """The reference that is a candidate's own rule on float64 inputs."""

    def __repr__(self) -> str:
        return "FLOAT64"


FLOAT64: Final = Float64()

Reference = Factory | Float64


@dataclass(frozen=True)
class Setting:
    """What a contest is held with.

    Attributes:
        candidate, reference: optimizer classes, or callables like them; ``FLOAT64`` for no reference but the oracle.
        kwargs: arguments for both.
        candidate_kwargs: arguments for the candidate alone.
        dtype, device: of the parameters.
        seed: of parameters and gradients.
        bounded: whether the oracle's bounds are worked out, and the candidate goes on from the reference's numbers.
        states: whether states are compared, and not the parameters alone. Without, the candidate keeps its own.
        oracle: what makes the oracle's optimizer. Default: the reference, or without one the candidate.
    """

    candidate: Factory
    reference: Reference
    kwargs: Mapping[str, Any]
    candidate_kwargs: Mapping[str, Any]
    dtype: torch.dtype
    device: torch.device
    seed: int
    bounded: bool
    states: bool = True
    oracle: Factory | None = None

    @property
    def home(self) -> str | None:
        """The backend that the candidate was asked to run on."""
        return {**self.kwargs, **self.candidate_kwargs}.get("backend")

    def limit(self, units: float, step: int) -> float:
        """The units that a step may be from float64.

        A unit counts one rounding of each state. States that do not begin each step with the reference's numbers carry
        those of all steps so far, and averages add them at most: ``step`` times as many.
        """
        return units if self.states else units * step


@dataclass(frozen=True)
class Pair:
    """One tensor after a step: ``params[i]`` or ``state[i]['name']``, in reports."""

    name: str
    actual: Tensor
    expected: Tensor
    bounds: Bounds | None


class DifferentStatesError(AssertionError):
    """Two optimizers keep different state tensors."""


class RefusedError(Exception):
    """A contestant raises instead of stepping.

    Attributes:
        by_candidate, by_reference: what each raised, or None. That without a reference is the candidate's.
    """

    def __init__(self, by_candidate: Exception | None, by_reference: Exception | None) -> None:
        super().__init__(by_candidate, by_reference)
        self.by_candidate = by_candidate
        self.by_reference = by_reference


class Contestant:
    """An optimizer on its own copy of a scenario's parameters."""

    def __init__(self, scenario: Scenario, factory: Factory, kwargs: Mapping[str, Any], setting: Setting) -> None:
        self.scenario = scenario
        self.factory = factory
        self.kwargs = dict(kwargs)
        self.home = self.kwargs.get("backend")
        source = Source(setting.dtype, setting.device, torch.Generator(setting.device).manual_seed(setting.seed))
        self.params = [torch.nn.Parameter(value) for value in scenario.params(source)]
        self.generator = source.generator
        self.optimizer = self._make()
        self.first_lrs = [group["lr"] for group in self.optimizer.param_groups]

    def _make(self) -> Optimizer:
        grouped = [{"params": [param]} for param in self.params]
        return self.factory(grouped if self.scenario.grouped else self.params, **self.kwargs)

    @property
    def decays(self) -> bool:
        """Whether its groups have a weight decay that can be set."""
        return all("weight_decay" in group for group in self.optimizer.param_groups)

    def tell_groups_apart(self, *, decay: bool) -> None:
        """Gives each group its own lr and, if asked for, weight decay."""
        for group, options in zip(self.optimizer.param_groups, group_options(len(self.params)), strict=True):
            group["lr"] = group["lr"] * options["lr"]
            if decay:
                group["weight_decay"] = options["weight_decay"]
        self.first_lrs = [group["lr"] for group in self.optimizer.param_groups]

    def prepare(self, step: int) -> None:
        """What comes before a step: the learning rate and the gradients."""
        if self.scenario.lr is not None:
            for group, first in zip(self.optimizer.param_groups, self.first_lrs, strict=True):
                group["lr"] = self.scenario.lr(step, first)
        for index, param in enumerate(self.params):
            param.grad = self.scenario.gradients(step, index, param, self.generator)

    def restore(self, **changed: Any) -> None:
        """Goes on with a new optimizer from a checkpoint."""
        state = copy.deepcopy(self.optimizer.state_dict())
        self.kwargs.update(changed)
        self.optimizer = self._make()
        self.optimizer.load_state_dict(state)

    def states(self, index: int) -> dict[str, Any]:
        """The state of a parameter; not made by asking, which both kinds of state would."""
        return dict(self.optimizer.state.get(self.params[index], {}))

    def group(self, index: int) -> dict[str, Any]:
        """The group of a parameter, which need not be one that was asked for: a factory may make its own."""
        param = self.params[index]
        return next(group for group in self.optimizer.param_groups if any(own is param for own in group["params"]))


def contest(scenario: Scenario, setting: Setting) -> Iterator[tuple[int, list[Pair]]]:
    """The steps of a scenario, counted from 1, with all tensors after each.

    Raises:
        DifferentStatesError: if the contestants do not keep the same state tensors.
        RefusedError: if one of them raises.
        Exception: what a contestant raises when it is constructed with a plain list of parameters. That is a mistake in
            its arguments, and none of its arithmetic.
    """
    ours = _entered(scenario, setting, "candidate", setting.candidate, {**setting.kwargs, **setting.candidate_kwargs})
    if isinstance(setting.reference, Float64):
        alone = _only(ours)
        if scenario.grouped:
            alone.tell_groups_apart(decay=alone.decays)
        yield from _alone(scenario, setting, alone)
        return
    theirs = _entered(scenario, setting, "reference", setting.reference, setting.kwargs)
    our, their = _both(ours, theirs)
    if scenario.grouped:
        for contestant in (our, their):
            contestant.tell_groups_apart(decay=our.decays and their.decays)
    for step in range(1, scenario.steps + 1):
        _happen(scenario.events.get(step), our, their)
        our.prepare(step)
        their.prepare(step)
        bounds = _made(partial(_bounds, setting, their) if setting.bounded else dict)
        _both(_made(our.optimizer.step), _made(their.optimizer.step))
        pairs = _pairs(step, our, their, _worked_out(bounds), states=setting.states)
        yield step, pairs
        if setting.bounded:
            with torch.no_grad():
                for pair in pairs:
                    pair.actual.copy_(pair.expected)


def _alone(scenario: Scenario, setting: Setting, our: Contestant) -> Iterator[tuple[int, list[Pair]]]:
    for step in range(1, scenario.steps + 1):
        _happen(scenario.events.get(step), our, None)
        our.prepare(step)
        found = _made(partial(_bounds, setting, our))
        _only(_made(our.optimizer.step))
        bounds = _worked_out(found)
        tensors = {f"params[{i}]": param.detach() for i, param in enumerate(our.params)}
        for i in range(len(our.params)):
            tensors |= {f"state[{i}][{name!r}]": value for name, value in our.states(i).items()}
        pairs = [Pair(name, tensors[name], _like(bound.exact, tensors[name]), bound) for name, bound in bounds.items()]
        yield step, pairs


def _like(exact: Tensor, actual: Tensor) -> Tensor:
    return (torch.view_as_complex(exact) if actual.is_complex() else exact).to(actual.dtype)


def _happen(event: Event | None, our: Contestant, their: Contestant | None) -> None:
    if event is None:
        return
    if their is not None:
        their.restore()
    if event == "switch" and our.home not in (None, "eager"):
        our.restore(backend="eager" if our.kwargs["backend"] == our.home else our.home)
    else:
        our.restore()


def _entered(
    scenario: Scenario, setting: Setting, role: str, factory: Factory, kwargs: Mapping[str, Any]
) -> tuple[Contestant | None, Exception | None]:
    try:
        return Contestant(scenario, factory, kwargs, setting), None
    except Exception as error:
        if scenario.grouped:  # some take no groups, which is for the scenario to show
            return None, error
        error.add_note(f"while the {role} was constructed with {dict(kwargs)}")
        raise


def _made(make: Callable[[], Any]) -> tuple[Any, Exception | None]:
    # Whatever a contestant raises is a result: it is compared, and reported.
    try:
        return make(), None
    except Exception as error:
        return None, error


def _both(ours: tuple[Any, Exception | None], theirs: tuple[Any, Exception | None]) -> tuple[Any, Any]:
    if ours[1] is not None or theirs[1] is not None:
        raise RefusedError(ours[1], theirs[1]) from ours[1]
    return ours[0], theirs[0]


def _only(ours: tuple[Any, Exception | None]) -> Any:
    if ours[1] is not None:
        raise RefusedError(ours[1], None) from ours[1]
    return ours[0]


def _worked_out(bounds: tuple[Any, Exception | None]) -> dict[str, Bounds]:
    """Bounds are worked out before a step, from what it begins with. Whether a rule refuses is the contestants' say."""
    found, error = bounds
    if error is not None:
        raise error
    return dict(found)


def _bounds(setting: Setting, contestant: Contestant) -> dict[str, Bounds]:
    """The oracle's bounds for every tensor of the coming step, by the names that reports use."""
    oracle = setting.oracle or (setting.candidate if isinstance(setting.reference, Float64) else setting.reference)
    kwargs = setting.kwargs if setting.oracle or not isinstance(setting.reference, Float64) else contestant.kwargs
    indices = [i for i, p in enumerate(contestant.params) if p.grad is not None and p.numel()]
    if not indices:
        return {}
    params = contestant.params
    inputs = [Inputs(params[i], _gradient(params[i]), contestant.states(i), contestant.group(i)) for i in indices]
    bounds = {}
    for i, found in zip(indices, all_bounds(oracle, kwargs, inputs), strict=True):
        bounds[f"params[{i}]"] = found.pop("param")
        bounds |= {f"state[{i}][{name!r}]": bound for name, bound in found.items()}
    return bounds


def _gradient(param: Tensor) -> Tensor:
    assert param.grad is not None
    return param.grad


def _pairs(step: int, our: Contestant, their: Contestant, bounds: Mapping[str, Bounds], *, states: bool) -> list[Pair]:
    pairs: list[Pair] = []
    for i, (ours, theirs) in enumerate(zip(our.params, their.params, strict=True)):
        pairs.append(Pair(f"params[{i}]", ours.detach(), theirs.detach(), bounds.get(f"params[{i}]")))
        if not states:
            continue
        our_state, their_state = our.states(i), their.states(i)
        if our_state.keys() != their_state.keys():
            raise DifferentStatesError(
                f"step {step}, state[{i}]: the candidate keeps {sorted(our_state)}, the reference {sorted(their_state)}"
            )
        for name, value in their_state.items():
            tensor, mine = f"state[{i}][{name!r}]", our_state[name]
            if isinstance(value, Tensor) and isinstance(mine, Tensor):
                pairs.append(Pair(tensor, dense(mine), dense(value), bounds.get(tensor)))
            elif (numbers := _as_numbers(mine, value)) is not None:
                pairs.append(Pair(tensor, *numbers, None))
            elif isinstance(value, Tensor) or isinstance(mine, Tensor):
                raise DifferentStatesError(
                    f"step {step}, {tensor}: the candidate keeps {_kind(mine)}, the reference {_kind(value)}"
                )
    return pairs


def _as_numbers(mine: Any, its: Any) -> tuple[Tensor, Tensor] | None:
    """Two states of which one at least is a Python number, such as a step count; None if one of them is no number."""
    if not all(isinstance(one, (int, float, complex)) or _is_scalar(one) for one in (mine, its)):
        return None
    wide = torch.complex128 if any(isinstance(one, complex) for one in (mine, its)) else torch.float64
    return torch.as_tensor(mine).to(wide), torch.as_tensor(its).to(wide)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0


def _kind(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
