"""Settings for every test process."""

import os

import pytest
import torch

# Test workers share the cores; one thread each is faster than all of them fighting.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
