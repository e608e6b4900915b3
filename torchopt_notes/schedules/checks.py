"""Argument checks of schedules: each says what was given and what is allowed."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor


def plain(value: Any) -> Any:
    """Python's own number for one that NumPy or torch holds, also in a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, (np.generic, np.ndarray, Tensor)) and value.ndim == 0 else value


def number(name: str, argument: str, value: Any) -> float:
    """A finite number; also one that NumPy or torch holds."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: {argument} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: {argument} must be a finite number, got {value!r}")
    return float(value)


def finite(name: str, **values: Any) -> None:
    """Finite numbers."""
    for argument, value in values.items():
        number(name, argument, value)


def steps(name: str, *, least: float = 0, **values: Any) -> None:
    """Numbers of steps, not less than ``least``."""
    for argument, value in values.items():
        if number(name, argument, value) < least:
            raise ValueError(f"{name}: {argument} must be a number of steps >= {least}, got {value!r}")


def whole(name: str, *, least: int = 0, **values: Any) -> None:
    """Whole numbers, not less than ``least``."""
    for argument, value in values.items():
        if number(name, argument, value) % 1 or value < least:
            raise ValueError(f"{name}: {argument} must be a whole number >= {least}, got {value!r}")


def positive(name: str, **values: Any) -> None:
    """Finite numbers > 0."""
    for argument, value in values.items():
        if number(name, argument, value) <= 0:
            raise ValueError(f"{name}: {argument} must be > 0, got {value!r}")


def non_negative(name: str, **values: Any) -> None:
    """Finite numbers ≥ 0."""
    for argument, value in values.items():
        if number(name, argument, value) < 0:
            raise ValueError(f"{name}: {argument} must be >= 0, got {value!r}")


def one_of(name: str, argument: str, value: Any, allowed: tuple[str, ...]) -> None:
    """One of a few words."""
    if value not in allowed:
        raise ValueError(f"{name}: {argument} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
