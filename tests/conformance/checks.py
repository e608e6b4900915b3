"""All checks: each of the test modules adds its own to the list when it is imported."""

from tests.conformance import (  # noqa: F401
    harness,
    test_copies,
    test_directions,
    test_errors,
    test_flags,
    test_gradients,
    test_hooks,
    test_numbers,
    test_state_dicts,
)

# Which module comes first does not depend on which of them a run of pytest imports first.
CHECKS = sorted(harness.CHECKS, key=lambda check: check.body.__module__)

__all__ = ["CHECKS"]
