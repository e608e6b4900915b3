"""A contestant: somebody's implementation of an optimizer, made with the same hyperparameters as everybody's."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

MOST_COMPILED = 400
"""Tensors: over more of them, compiling a step as one graph takes minutes."""

Make = Callable[..., torch.optim.Optimizer]


class UnavailableError(Exception):
    """A contestant cannot run here; the message says why."""


@dataclass(frozen=True)
class Entry:
    """One optimizer of a package.

    Attributes:
        name: of the class in the package's module.
        renamed: what it calls hyperparameters that have another name there.
        fixed: arguments that make it the same optimizer.
        only: the hyperparameters that it takes, if it has no choice about the others.
    """

    name: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] | None = None

    def arguments(self, hyper: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for these hyperparameters."""
        kept = hyper.keys() if self.only is None else self.only
        taken = {self.renamed.get(key, key): hyper[key] for key in kept}
        return {**taken, **self.fixed}


@dataclass(frozen=True)
class Contestant:
    """A package's implementation, in one of its forms.

    Attributes:
        name: for reports.
        distribution: what pip calls it, whose version is reported.
        module: where its classes are.
        entries: its optimizers, by their names here.
        devices: on which it runs at all.
        compiled: whether its step is put through ``torch.compile``.
        most_tensors: for how many tensors at most it is measured.
        left_out: on which devices it would say nothing new, and why.
        by_name: whether it takes part only where it is asked for by its own name.
        yardstick: whether it is another optimizer, whose bytes per second are the measure of all.
    """

    name: str
    distribution: str
    module: str
    entries: Mapping[str, Entry]
    devices: tuple[str, ...] = ("cpu", "cuda")
    compiled: bool = False
    most_tensors: float = math.inf
    left_out: Mapping[str, str] = field(default_factory=dict)
    by_name: bool = False
    yardstick: bool = False

    @property
    def version(self) -> str | None:
        """Of the package that is installed."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def maker(self, optimizer: str, hyper: Mapping[str, Any], device: str) -> Make:
        """A callable like an optimizer's class: parameters or groups, and further arguments.

        Raises:
            UnavailableError: saying why this cannot run here.
        """
        entry = self.entries.get(optimizer)
        if entry is None:
            raise UnavailableError("has no such optimizer")
        if device in self.left_out:
            raise UnavailableError(self.left_out[device])
        if device not in self.devices:
            raise UnavailableError(f"does not run on {device}")
        try:
            found = getattr(importlib.import_module(self.module), entry.name)
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            # Packages with code of their own fail in many ways where it was built for another machine.
            raise UnavailableError(
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error
        arguments = entry.arguments(hyper)

        def make(params: Sequence[Any], **more: Any) -> torch.optim.Optimizer:
            made: torch.optim.Optimizer = found(params, **{**arguments, **more})
            if self.compiled:
                setattr(made, "step", torch.compile(made.step))  # noqa: B010, mypy knows step as a method
            return made

        return make
