"""All checks: each of the test modules adds its own to the list when it is imported."""

from tests.conformance import (  # noqa: F401
    test_copies,
    test_directions,
    test_errors,
    test_flags,
    test_gradients,
    test_hooks,
    test_numbers,
    test_state_dicts,
)
from tests.conformance.harness import CHECKS

__all__ = ["CHECKS"]
