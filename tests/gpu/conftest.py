"""Everything in this folder needs a GPU that Triton serves. Elsewhere it is skipped, with the reason."""

from pathlib import Path

import pytest
import torch

from torchopt_notes.engine.backends import interpreted, missing_triton


def _reason() -> str | None:
    if interpreted():
        return "TRITON_INTERPRET=1 is set, which keeps kernels off the GPU; unset it"
    if not torch.cuda.is_available():
        return "no GPU: torch.cuda.is_available() is false"
    return missing_triton()


REASON = _reason()


# First, so that -m sees the marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gpu)
            if REASON is not None:
                item.add_marker(pytest.mark.skip(reason=REASON))
