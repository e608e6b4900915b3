"""Kernels run in Triton's interpreter in ``test_fused*.py``; the other files are about torch's operations on a CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from torchopt_notes.engine.backends import interpreted, missing_triton

HERE = Path(__file__).parent
KERNELS = missing_triton() or (None if interpreted() else "needs TRITON_INTERPRET=1 (make test runs these so)")
OPERATIONS = "TRITON_INTERPRET=1 is set, and kernels take the tensors" if interpreted() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            reason = KERNELS if item.path.name.startswith("test_fused") else OPERATIONS
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def _poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were launched, in order."""
    from torchopt_notes.clip import launches
    from torchopt_notes.engine import unit_launches

    recorded = []
    genuine = launches.launch

    def recording(kernel, programs, **arguments):
        recorded.append(kernel.fn.__name__)
        genuine(kernel, programs, **arguments)

    monkeypatch.setattr(launches, "launch", recording)
    monkeypatch.setattr(unit_launches, "launch", recording)
    return recorded
