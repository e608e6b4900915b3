"""Checks what a comparison is asked for: a request that can compare nothing raises before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .contest import Float64, Reference, Setting
from .oracle import Factory
from .tolerances import TOLERANCES


def checked(
    candidate: Factory,
    reference: Reference,
    *,
    kwargs: Mapping[str, Any] | None,
    candidate_kwargs: Mapping[str, Any] | None,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    ulp: float,
    states: bool = True,
    oracle: Factory | None = None,
) -> Setting:
    """The setting of a comparison.

    Raises:
        TypeError: for what is no optimizer, no dtype or no seed.
        ValueError: for a dtype without a tolerance, a distance that is none, or equal bits with ``FLOAT64``.
    """
    check_contestants(candidate, reference)
    check_dtype(dtype)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    if not (isinstance(ulp, (int, float)) and math.isfinite(ulp) and ulp >= 0):
        raise ValueError(f"ulp must be 0 for equal bits or a finite number of units above 0, got {ulp!r}")
    if isinstance(reference, Float64) and ulp == 0:
        raise ValueError("no rounded result equals float64's; say how far it may be, such as ulp=2")
    return Setting(
        *(candidate, reference, dict(kwargs or {}), dict(candidate_kwargs or {})),
        *(dtype, torch.device(device), seed),
        bounded=ulp > 0,
        states=states,
        oracle=oracle,
    )


def check_contestants(candidate: object, reference: object) -> None:
    """Refuses what is no optimizer.

    Raises:
        TypeError: saying what was given and what can be.
    """
    for role, value, more in (
        ("candidate", candidate, ""),
        ("reference", reference, " or torchopt_notes.testing.FLOAT64,"),
    ):
        if not (callable(value) or (more and isinstance(value, Float64))):
            hint = "; give the class itself, not its name" if isinstance(value, str) else ""
            raise TypeError(
                f"the {role} must be an optimizer class such as torch.optim.Adam,{more} or a callable that takes "
                f"parameters and keyword arguments, got {value!r}{hint}"
            )


def check_dtype(dtype: torch.dtype) -> None:
    """Refuses what no tolerance is derived for.

    Raises:
        TypeError: for something that is no dtype, such as a string.
        ValueError: for another dtype; the message lists those that are known.
    """
    known = ", ".join(str(one) for one in TOLERANCES)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be one of {known}, got {dtype!r}")
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype must be one of {known}, got {dtype}")
