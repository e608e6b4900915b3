"""torch's own database of optimizers: what each is constructed with, what it must refuse, who takes its place here."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from unittest import mock

import torch

import torchopt_notes
from torchopt_notes.engine.optimizer import Optimizer
from torchopt_notes.optim.registry import optimizers

WITHOUT_COUNTERPART = {
    "LBFGS": "a second-order method; those come later",
    "Muon": "a method for whole matrices; those come later",
}


@contextlib.contextmanager
def _without_traces() -> Iterator[None]:
    """Keeps what importing torch's test utilities does to the process from other tests.

    They need ``expecttest`` for a base class that is not used here, set hypothesis's profile, and freeze torch's flags.
    """
    stand_in = types.ModuleType("expecttest")
    stand_in.TestCase = unittest.TestCase
    modules = {"hypothesis": None}
    try:
        import expecttest  # noqa: F401
    except ImportError:
        modules["expecttest"] = stand_in
    kept = {name: sys.modules.get(name) for name in modules}
    flags = vars(torch.backends)
    thawed = flags.get("__allow_nonbracketed_mutation_flag")
    sys.modules.update(modules)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            mock.patch.dict(os.environ),
        ):
            yield
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        if thawed is not None:
            flags["__allow_nonbracketed_mutation_flag"] = thawed


try:
    with _without_traces():
        from torch.testing._internal import common_optimizers
    DATABASE = list(common_optimizers.optim_db)
    MISSING = None
except (ImportError, AttributeError) as error:
    common_optimizers, DATABASE, MISSING = None, [], f"this torch has no database of optimizers: {error}"


@dataclass(frozen=True)
class Input:
    """One set of constructor arguments."""

    name: str
    arguments: dict[str, Any]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments, in tensors of their own."""
        return copy.deepcopy(self.arguments)


@dataclass(frozen=True)
class ErrorInput:
    """Arguments that must be refused; ``make`` returns torch's entry, with parameters that nobody has used yet."""

    name: str
    make: Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Pair:
    """An entry of torch's database, and the class that takes the place of its optimizer."""

    info: Any
    ours: type[Optimizer]

    @property
    def name(self) -> str:
        """The class's name, which is torch's too."""
        return self.ours.__name__

    @property
    def theirs(self) -> type[torch.optim.Optimizer]:
        """torch's class."""
        return self.info.optim_cls

    @property
    def sparse_only(self) -> bool:
        """Whether gradients must be sparse."""
        return self.info.only_supports_sparse_grads

    def takes(self, *arguments: str) -> bool:
        """Whether torch's class has all of these arguments."""
        return inspect.signature(self.theirs).parameters.keys() >= set(arguments)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Every set of arguments that torch tests on some device."""
        found: dict[str, Input] = {}
        seen = []
        for device in ("cpu", "cuda", "mps"):
            for entry in self.info.optim_inputs_func(device):
                if repr(entry.kwargs) not in seen:
                    seen.append(repr(entry.kwargs))
                    name = entry.desc if entry.desc not in found else f"{entry.desc} on {device}"
                    found[name] = Input(name, entry.kwargs)
        return tuple(found.values())

    @cached_property
    def representative(self) -> Input:
        """The set that asks for most, among those that torch takes on the CPU."""
        return max((given for given in self.inputs if on_cpu(given)), key=lambda given: len(given.arguments))

    @cached_property
    def error_inputs(self) -> tuple[ErrorInput, ...]:
        """Everything that torch tests to be refused; what it tests on GPUs alone, with parameters on the CPU."""
        found = []
        for device in ("cpu", "cuda"):
            for index, entry in enumerate(self._refused(device)):
                found.append(
                    ErrorInput(
                        f"{device} {index}: {entry.optimizer_error_input.desc}",
                        lambda device=device, index=index: self._refused(device)[index],
                    )
                )
        return tuple(found)

    def _refused(self, device: str) -> list[Any]:
        with mock.patch.object(common_optimizers, "_get_device_type", return_value=device):
            return list(self.info.optim_error_inputs_func("cpu", torch.float32))


def on_cpu(given: Input) -> bool:
    """Whether torch takes these arguments on the CPU."""
    return not given.arguments.get("capturable") and not any(
        isinstance(value, torch.Tensor) for value in given.arguments.values()
    )


def _pairs() -> tuple[Pair, ...]:
    ours = {cls.counterpart: cls for cls in optimizers().values() if cls.counterpart is not None}
    return tuple(Pair(info, ours[info.optim_cls]) for info in DATABASE if info.optim_cls in ours)


PAIRS = _pairs()


def schedulers(pair: Pair, *, ours: bool) -> list[list[Callable[[Any], Any]]]:
    """torch's combinations of schedulers, made of torch's classes or of ours with the same names."""

    def substituted(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def construct(optimizer: Any) -> Any:
            public = torchopt_notes.lr_scheduler.__all__
            classes = {
                name: getattr(torchopt_notes.lr_scheduler, name) for name in public if hasattr(common_optimizers, name)
            }
            with mock.patch.multiple(common_optimizers, **classes):
                return make(optimizer)

        return construct

    return [[substituted(make) if ours else make for make in makers] for makers in pair.info.scheduler_inputs]
