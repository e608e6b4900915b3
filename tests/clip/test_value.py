"""Clipping by value, against torch.nn.utils."""

import math

import pytest
import torch

from tests.clip.common import LAYOUTS, REAL, assert_same_bits, contiguous, make, parameters
from torchopt_notes.clip import clip_grad_value_

LIMITS = (0.0, 0.1, 1 / 3, 1e4, math.inf)


def compare(ours, layout, dtype, foreach=None):
    for limit in LIMITS:
        if dtype == torch.float16 and limit == math.inf and foreach is None:
            continue
        results = []
        for clip in (ours, torch.nn.utils.clip_grad_value_):
            params = parameters(make(layout, dtype))
            params[2].grad[:3] = torch.tensor([math.nan, math.inf, -math.inf])
            assert clip(params, limit, foreach) is None
            results.append([p.grad for p in params])
        assert_same_bits(*results)


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_bit_is_torchs(layout, dtype, foreach):
    compare(clip_grad_value_, layout, dtype, foreach)


def forgets_nan(params, limit, foreach=None):
    clip_grad_value_(params, limit, foreach)
    for param in params:
        param.grad.nan_to_num_(nan=limit)


def one_sided(params, limit, foreach=None):
    for param in params:
        param.grad.clamp_(max=limit)


@pytest.mark.parametrize("mistake", [forgets_nan, one_sided])
def test_a_wrong_clamp_is_caught(mistake):
    with pytest.raises(AssertionError):
        compare(mistake, contiguous, torch.float32)


@pytest.mark.parametrize("gradient", [torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse()], ids=str)
def test_what_has_no_order_is_refused_before_anything_changes(gradient):
    plain, odd = parameters([torch.full((3,), 5.0)]), parameters([gradient])
    for clip in (clip_grad_value_, torch.nn.utils.clip_grad_value_):
        with pytest.raises(NotImplementedError):
            clip(odd, 1.0)
    with pytest.raises(
        NotImplementedError, match=r"clip_grad_value_: clamp is not supported for .*; use clip_grad_norm_"
    ):
        clip_grad_value_([*plain, *odd], 1.0)
    assert plain[0].grad.tolist() == [5.0] * 3


def test_nothing_to_clip_is_no_error():
    """torch raises an internal error of its grouping here."""
    clip_grad_value_([], 1.0)
    clip_grad_value_([torch.nn.Parameter(torch.ones(2))], 1.0)
