"""How examples are run: the same ones every time, unless ``PROPERTIES_SEED`` asks for others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SEED = os.environ.get("PROPERTIES_SEED")
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def chosen(examples: int, *, phases: tuple[Phase, ...] = tuple(Phase), steps: int = 20) -> settings:
    """Settings for so many examples, which keep no files."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=SEED is None,
        phases=phases,
        suppress_health_check=QUIET,
        print_blob=False,
    )


def run(
    examples: int,
    strategy: st.SearchStrategy[Any],
    check: Callable[[Any], None],
    phases: tuple[Phase, ...] = tuple(Phase),
) -> None:
    """Checks so many examples, and raises what the smallest failing one raises."""
    test = given(strategy)(lambda problem: check(problem))
    test = chosen(examples, phases=phases)(test)
    (seed(int(SEED))(test) if SEED is not None else test)()
