"""As in the harness's own tests."""

from tests.testing.conftest import _one_thread as _one_thread
