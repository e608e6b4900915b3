"""Kernels write to their tensors and to nothing else: the numbers before and after each one keep their bits.

Numbers, not NaN: a NaN that is read, worked with and written again leaves no trace.
"""

import pytest
import torch

from tests.backends import HERE
from tests.gradients.references import ONE_EACH

pytestmark = pytest.mark.skipif("triton" not in HERE, reason="needs TRITON_INTERPRET=1")
MARGIN = 4
BLOCK = 1024
OUTSIDE = 7.0


class Between:
    """A copy of a tensor between numbers that must not change; at a 16-byte boundary, as kernels like it."""

    def __init__(self, values):
        self.memory = torch.full((values.numel() + 2 * MARGIN,), OUTSIDE, dtype=values.dtype)
        self.tensor = self.memory[MARGIN:-MARGIN].view(values.shape)
        self.tensor.copy_(values)

    def left_alone(self):
        return bool((self.memory[:MARGIN] == OUTSIDE).all() and (self.memory[-MARGIN:] == OUTSIDE).all())


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_numbers_next_to_a_tensor_stay_as_they_are(case):
    shapes = [(BLOCK + 3,), (33, 35), (BLOCK,)]
    around = [Between(torch.randn(shape)) for shape in shapes]
    params = [torch.nn.Parameter(one.tensor) for one in around]
    optimizer = case.optimizer(params, **case.kwargs, backend="eager")
    for step in range(2):
        for param in params:
            around.append(Between(torch.randn(param.shape)))
            param.grad = around[-1].tensor
        if step == 1:
            for param in params:
                for name, value in optimizer.state[param].items():
                    if value.dim():
                        around.append(Between(value))
                        optimizer.state[param][name] = around[-1].tensor
            optimizer.backend = "triton"
        optimizer.step()
    assert all(one.left_alone() for one in around)
