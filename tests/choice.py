"""Which of many combinations are quick tests."""

import pytest
import torch

from torchopt_notes.testing import CASES

FIRST = {case.optimizer: case for case in reversed(CASES)}.values()


def each_case(*dtypes):
    """Parametrizes ``case`` and ``dtype``.

    Quick ones are those in fp32, and in bf16 the first case of each optimizer: loads and stores differ by dtype, rules
    do not. Each further dtype is compiled anew, or interpreted.
    """
    return pytest.mark.parametrize(
        ("case", "dtype"),
        [
            pytest.param(case, dtype, id=f"{case.name}-{dtype}", marks=[] if _quick(case, dtype) else pytest.mark.full)
            for case in CASES
            for dtype in dtypes
            if case.takes(dtype)
        ],
    )


def _quick(case, dtype):
    return dtype == torch.float32 or (dtype == torch.bfloat16 and case in FIRST)
