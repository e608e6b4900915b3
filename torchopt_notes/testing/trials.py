"""What the survey holds against what: a case of ours or a third party's class, its reference, and how far it may be."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from ..engine.optimizer import Optimizer
from ..optim.registry import optimizers
from ..optim.sparse_adam import SparseAdam
from .cases import CASES, Case
from .contest import FLOAT64, Reference
from .matrix import required
from .oracle import Factory

DTYPES = MappingProxyType(
    {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp64": torch.float64,
        "complex64": torch.complex64,
    }
)
EXACT = ("fp32", "fp64", "complex64")
"""Where the eager rule does torch's operations in torch's order. In fp16 and bf16 it computes in fp32, unlike torch."""

SURVEYED = (*CASES, Case("sparse-adam", SparseAdam, {}, torch.optim.SparseAdam))
"""All cases. SparseAdam refuses the dense gradients of all scenarios but one, as torch's does."""

IMPLEMENTATION = frozenset({"foreach", "fused", "capturable", "differentiable"})
"""Arguments that say how a step is worked out, and not what."""


@dataclass(frozen=True)
class Trial:
    """Arguments for :func:`.compare`, with what they are called.

    Attributes:
        against: the reference, for reports.
        units: how far from float64 a result may be.
        exact: whether equal bits are asked for.
    """

    candidate: Factory
    reference: Reference
    against: str
    kwargs: Mapping[str, Any]
    candidate_kwargs: Mapping[str, Any]
    units: int
    exact: bool
    oracle: Factory | None = None
    states: bool = True


@dataclass(frozen=True)
class OurCase:
    """One of :data:`SURVEYED`, by name."""

    name: str

    @property
    def case(self) -> Case:
        """The case."""
        return next(case for case in SURVEYED if case.name == self.name)

    @property
    def optimizer(self) -> str:
        """The class's name, for reports."""
        return self.case.optimizer.__name__

    def trial(self, backend: str, dtype: str, device: str) -> Trial:
        """Against torch's class; without one, the eager rule against float64 and other backends against that rule."""
        case = self.case
        eager = functools.partial(case.optimizer, backend="eager")
        reference: Reference = case.reference or (FLOAT64 if backend == "eager" else eager)
        return Trial(
            case.optimizer,
            reference,
            f"torch.optim.{case.reference.__name__}"
            if case.reference
            else "float64"
            if backend == "eager"
            else "eager",
            case.kwargs,
            {"backend": backend},
            case.units,
            exact=backend == "eager" and case.reference is not None and dtype in EXACT and device == "cpu",
            oracle=None if case.reference else eager,
        )


@dataclass(frozen=True)
class ThirdParty:
    """Somebody else's optimizer, and the one here that it is to equal.

    Attributes:
        path: ``module:Class``.
        counterpart: the name of the class here. Default: that of theirs, in whatever case.
        arguments: for both where both take them, else for the one that does.
    """

    path: str
    counterpart: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class's name, for reports."""
        return self.path.partition(":")[2]

    @property
    def optimizer(self) -> str:
        """The same."""
        return self.name

    @property
    def candidate(self) -> type[torch.optim.Optimizer]:
        """Their class.

        Raises:
            ValueError: if there is no such module or class, or it is no optimizer.
        """
        module, _, name = self.path.partition(":")
        if not module or not name:
            raise ValueError(f"{self.path!r} must name a module and a class, as in my_package.optimizers:MyAdam")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except (Exception, SystemExit) as error:
            # A module may raise anything while it is imported; a script without a guard even ends the process.
            raise ValueError(f"{self.path!r} cannot be imported: {error} ({type(error).__name__})") from error
        if not (inspect.isclass(found) and issubclass(found, torch.optim.Optimizer)):
            raise ValueError(f"{self.path!r} is no torch.optim.Optimizer, but {found!r}")
        return found

    @property
    def ours(self) -> type[Optimizer]:
        """The class here.

        Raises:
            ValueError: if there is none of that name; the message lists all.
        """
        name = (self.counterpart or self.name).lower()
        if (found := optimizers().get(name)) is None:
            raise ValueError(
                f"no optimizer here is called {name!r}; name the counterpart, one of: {', '.join(optimizers())}"
            )
        return found

    def trial(self, backend: str = "", dtype: str = "", device: str = "cpu") -> Trial:
        """Against ``torch.optim``'s class if there is one, else the eager backend's.

        Both are constructed with the counterpart's defaults for the arguments that both name, since a difference in
        defaults is none of the rule. The rest keeps each one's own.

        Raises:
            ValueError: for arguments that neither takes, or with which theirs cannot be constructed.
        """
        theirs, ours = self.candidate, self.ours
        reference: Factory = ours.counterpart or functools.partial(ours, backend="eager")
        taken, known = _parameters(theirs), _parameters(ours.counterpart or ours)
        if unknown := sorted(self.arguments.keys() - taken.keys() - known.keys()):
            raise ValueError(
                f"neither takes {unknown[0]!r}: {theirs.__name__} has {', '.join(taken)}, its counterpart "
                f"{', '.join(known)}"
            )
        both = {name: value for name, value in known.items() if name in taken and name not in IMPLEMENTATION}
        shared = {name: required(ours).get(name) if value is _NONE else value for name, value in both.items()}
        shared |= {name: value for name, value in self.arguments.items() if name in both}
        alone = {name: value for name, value in self.arguments.items() if name in taken and name not in both}
        of_reference = {k: v for k, v in self.arguments.items() if k in known and k not in both}
        if of_reference:
            reference = functools.partial(reference, **of_reference)
        against = f"torch.optim.{ours.counterpart.__name__}" if ours.counterpart else f"torchopt_notes.{ours.__name__}"
        units = max(case.units for case in SURVEYED if case.optimizer is ours)
        return Trial(
            theirs,
            reference,
            against,
            shared,
            alone,
            units,
            exact=False,
            states=_same_states(theirs, {**shared, **alone}, reference, shared),
        )


Subject = OurCase | ThirdParty

_NONE = inspect.Parameter.empty


def _parameters(cls: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """The arguments that a class names, without the parameters, and their defaults."""
    found = list(inspect.signature(cls).parameters.values())[1:]
    return {p.name: p.default for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _same_states(theirs: Factory, their_kwargs: Mapping[str, Any], ours: Factory, kwargs: Mapping[str, Any]) -> bool:
    """Whether both keep the same state tensors after a step. What an argument does wrong shows here first."""
    keys = []
    for factory, arguments in ((theirs, their_kwargs), (ours, kwargs)):
        param = torch.nn.Parameter(torch.ones(3, 2))
        param.grad = torch.ones(3, 2)
        try:
            optimizer = factory([param], **arguments)
            optimizer.step()
        except Exception as error:
            # Whatever a constructor raises for such arguments is what the caller must hear.
            name = getattr(factory, "__name__", "the counterpart")
            raise ValueError(f"{name} cannot take a step with {dict(arguments)}: {error!r}") from error
        keys.append({n: v.shape for n, v in optimizer.state[param].items() if isinstance(v, torch.Tensor)})
    return keys[0] == keys[1]
