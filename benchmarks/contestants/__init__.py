"""Who is timed."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .contestant import Contestant, Entry, UnavailableError
from .hyperparameters import HYPERPARAMETERS
from .own import EAGER, OURS, TORCH, YARDSTICK
from .peers import PEERS

CONTESTANTS: tuple[Contestant, ...] = (OURS, *TORCH, EAGER, *PEERS)


def find_contestants(patterns: Sequence[str]) -> tuple[Contestant, ...]:
    """This package's form and those whose names match a pattern (``*``, ``?``, ``[...]``).

    Raises:
        ValueError: for a pattern that matches none; the message lists all names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(one.name.lower(), pattern.lower()) for one in CONTESTANTS):
            names = ", ".join(one.name for one in CONTESTANTS)
            raise ValueError(f"no contestant is called {pattern!r}; there are {names}")
    return tuple(
        one
        for one in CONTESTANTS
        if one is OURS
        or one.name in patterns
        or (not one.by_name and any(fnmatchcase(one.name.lower(), pattern.lower()) for pattern in patterns))
    )


__all__ = [
    "CONTESTANTS",
    "HYPERPARAMETERS",
    "OURS",
    "YARDSTICK",
    "Contestant",
    "Entry",
    "UnavailableError",
    "find_contestants",
]
