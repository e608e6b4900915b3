"""MyAdam has torch.optim.Adam's own bits, parameters and states, after every step of every scenario."""

import pytest
import torch
from my_optimizer import MyAdam


@pytest.mark.parity(MyAdam, torch.optim.Adam, kwargs={"lr": 1e-2}, dtype=[torch.float32, torch.float64])
def test_my_adam(parity):
    parity()
