"""Optimizers by name: :func:`create_optimizer` and :func:`list_optimizers`.

Nothing is listed here: the names are those of the package's public classes, and of the ``aliases`` that they declare.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, overload

import torch
from torch.optim.optimizer import ParamsT

from ..engine.optimizer import Optimizer


class Entry(NamedTuple):
    """What a name stands for: a class, and the arguments that come with the name."""

    optimizer: type[Optimizer]
    arguments: Mapping[str, Any]


def optimizers() -> dict[str, type[Optimizer]]:
    """The package's public optimizers by their lower-case class names, sorted."""
    # Imported here: the package exports this module's functions.
    import torchopt_notes

    public = [getattr(torchopt_notes, name) for name in torchopt_notes.__all__]
    classes = [item for item in public if inspect.isclass(item) and issubclass(item, Optimizer)]
    return {_plain(cls.__name__): cls for cls in sorted(classes, key=_lower_name) if cls is not Optimizer}


def own_aliases(optimizer: type[Optimizer]) -> Mapping[str, Mapping[str, Any]]:
    """The aliases that a class declares itself. Those that it inherits are its parent's names."""
    found: Mapping[str, Mapping[str, Any]] = vars(optimizer).get("aliases", {})
    return found


def description(optimizer: type[Optimizer]) -> str:
    """The first line of the class's docstring."""
    return (inspect.getdoc(optimizer) or "").partition("\n")[0]


def create_optimizer(name: str, params_or_model: ParamsT | torch.nn.Module, **kwargs: Any) -> Optimizer:
    """Constructs the optimizer with this name.

    Args:
        name: a class's name or one of its aliases. Case, ``-`` and ``_`` make no difference.
        params_or_model: parameters, named parameters, dicts of parameter groups, or a module.
        kwargs: the optimizer's arguments. They go before the ones that an alias stands for.

    Raises:
        ValueError: for an unknown name; the message says which known ones are nearest.

    Example:
        >>> import torch
        >>> from torchopt_notes import create_optimizer
        >>> create_optimizer("adamw", torch.nn.Linear(4, 2), lr=0.01).defaults["lr"]
        0.01
        >>> optimizer = create_optimizer("Nesterov", torch.nn.Linear(4, 2), momentum=0.8)
        >>> type(optimizer).__name__, optimizer.defaults["nesterov"], optimizer.defaults["momentum"]
        ('SGD', True, 0.8)
    """
    known = _entries()
    if (entry := known.get(_plain(name))) is None:
        import difflib  # here and below: not at the price of every import of the package

        near = difflib.get_close_matches(_plain(name), known, n=3)
        suggestion = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"unknown optimizer {name!r}; {suggestion}torchopt_notes.list_optimizers() lists all of them")
    # Every optimizer's own arguments differ, beyond what a signature here could say.
    construct: Any = entry.optimizer
    created: Optimizer = construct(params_or_model, **{**entry.arguments, **kwargs})
    return created


@overload
def list_optimizers(pattern: str = "*", with_description: Literal[False] = False) -> list[str]: ...


@overload
def list_optimizers(pattern: str = "*", *, with_description: Literal[True]) -> list[tuple[str, str]]: ...


@overload
def list_optimizers(pattern: str, with_description: Literal[True]) -> list[tuple[str, str]]: ...


def list_optimizers(pattern: str = "*", with_description: bool = False) -> list[str] | list[tuple[str, str]]:
    """The names of all optimizers that match a pattern, sorted.

    Args:
        pattern: with the wildcards ``*``, ``?`` and ``[...]``. Case, ``-`` and ``_`` make no difference.
        with_description: return pairs of a name and the first line of the optimizer's documentation.

    Example:
        >>> from torchopt_notes import list_optimizers
        >>> list_optimizers("RMS*")
        ['rmsprop']
        >>> list_optimizers("sgd", with_description=True)
        [('sgd', "Stochastic gradient descent, with momentum, dampening and Nesterov's look-ahead.")]
    """
    from fnmatch import fnmatchcase

    found = {name: cls for name, cls in optimizers().items() if fnmatchcase(name, _plain(pattern))}
    if with_description:
        return [(name, description(cls)) for name, cls in found.items()]
    return list(found)


def _entries() -> dict[str, Entry]:
    """Every name and alias. A name goes before another class's alias."""
    classes = optimizers()
    aliases = {
        _plain(alias): Entry(cls, arguments)
        for cls in classes.values()
        for alias, arguments in own_aliases(cls).items()
    }
    return aliases | {name: Entry(cls, {}) for name, cls in classes.items()}


def _lower_name(optimizer: type[Optimizer]) -> str:
    return optimizer.__name__.lower()


def _plain(name: str) -> str:
    """Lower case, without ``-`` and ``_``, but for those between brackets: there they stand for a range."""
    return re.sub(r"[-_](?![^\[]*\])", "", name.lower())
