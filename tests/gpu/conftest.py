"""Everything in this folder needs a GPU that Triton serves. Elsewhere it is skipped, with the reason."""

import json
from pathlib import Path

import pytest
import torch

from tests.gpu.common import DEVICE
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


def kernels_of(step, path):
    """The kernels that ``step`` launches, in order; copies and fills of memory are none."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    profile.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("cat") == "kernel"]
    return [event["name"] for event in sorted(events, key=lambda event: float(event["ts"]))]


@pytest.fixture
def launched(tmp_path):
    ones = torch.ones(8, device=DEVICE)
    if not kernels_of(lambda: ones.mul_(2), tmp_path / "probe.json"):
        pytest.skip("the profiler records no kernels here (no access to CUPTI)")
    return lambda step: kernels_of(step, tmp_path / "trace.json")
