"""A tensor whose last offsets do not fit in 32 bits."""

import pytest
import torch

from tests.gpu.common import DEVICE
from torchopt_notes import SGD

ELEMENTS = 2**31 + 2 * 1024 + 5


@pytest.fixture
def free_memory():
    torch.cuda.empty_cache()
    yield torch.cuda.mem_get_info()[0]
    torch.cuda.empty_cache()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_every_element_of_a_tensor_beyond_two_to_the_thirty_one(dtype, free_memory):
    # The parameter, its gradient, what is expected, and a truth value for each.
    needed = ELEMENTS * (3 * dtype.itemsize + 1) + 2**30
    if free_memory < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of GPU memory, {free_memory / 2**30:.0f} are free")
    param = torch.nn.Parameter(torch.zeros(ELEMENTS, dtype=dtype, device=DEVICE))
    param.grad = torch.empty_like(param).normal_()
    SGD([param], lr=0.5, backend="triton").step()
    for place in (0, 1, 2**31 - 1, 2**31, 2**31 + 1, ELEMENTS - 1):
        assert param[place].item() == -0.5 * param.grad[place].item(), place
    assert torch.equal(param.detach(), param.grad.mul_(-0.5))
