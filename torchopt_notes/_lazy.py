"""A package whose names are loaded when they are asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy(
    package: str, homes: Mapping[str, Sequence[str]], submodules: Sequence[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        homes: the names that each of its modules defines.
        submodules: modules that are names themselves.

    A name that was asked for becomes an ordinary one of the package, so that this is called once for each.

    Example:
        >>> getattr_, dir_ = lazy("torchopt_notes", {"optim.adam": ["AdamW"]})
        >>> getattr_("AdamW")
        <class 'torchopt_notes.optim.adam.AdamW'>
        >>> getattr_("AdamV")
        Traceback (most recent call last):
            ...
        AttributeError: module 'torchopt_notes' has no attribute 'AdamV'
    """
    found = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> object:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"{package}.{found[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *found, *submodules})

    return load, names
