"""Kernels run in Triton's interpreter here, on memory that is NaN until somebody writes to it."""

from collections.abc import Iterator

import pytest
import torch

from torchopt_notes.engine.backends import interpreted, missing_triton

REASON = missing_triton() or (None if interpreted() else "needs TRITON_INTERPRET=1 (make test runs these so)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kernels" in str(item.path) and REASON and not item.get_closest_marker("not_interpreted"):
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
