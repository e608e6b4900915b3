"""What holds for any gradients, found by hypothesis."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clip.common import REAL, assert_same_bits, parameters
from torchopt_notes.clip import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm

utils = torch.nn.utils
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
ORDINARY = st.floats(-100, 100, width=32).map(lambda x: x if abs(x) > 1e-6 else 0.0)
LIMIT = st.one_of(st.floats(0, 1e4), st.just(math.inf))


def lists(numbers):
    """A few gradients of a few numbers, each in a dtype of its own."""
    values = st.lists(numbers, max_size=7)
    return st.lists(st.tuples(values, st.sampled_from(REAL)), min_size=1, max_size=4)


def tensors(drawn):
    return [torch.tensor(values, dtype=torch.float32).to(dtype) for values, dtype in drawn]


@settings(max_examples=150, deadline=None)
@given(lists(NUMBERS), LIMIT, NUMBERS, st.sampled_from(REAL), st.sampled_from([None, True, False]))
def test_any_norm_clips_as_it_does_in_torch(drawn, limit, total, dtype, foreach):
    norm = torch.tensor(total).to(dtype)
    ours, theirs = parameters(tensors(drawn)), parameters(tensors(drawn))
    clip_grads_with_norm_(ours, limit, norm, foreach)
    utils.clip_grads_with_norm_(theirs, limit, norm, foreach)
    assert_same_bits([p.grad for p in ours], [p.grad for p in theirs])


@settings(max_examples=100, deadline=None)
@given(lists(ORDINARY), st.floats(1e-3, 1e3), st.sampled_from([1.0, 2.0, 3.0, math.inf]))
def test_what_is_clipped_is_no_larger_than_the_limit(drawn, limit, order):
    params = parameters(tensors(drawn))
    total = clip_grad_norm_(params, limit, order)
    exact = torch.linalg.vector_norm(torch.cat([grad.double() for grad in tensors(drawn)] + [torch.zeros(1)]), order)
    torch.testing.assert_close(total.double(), exact, rtol=torch.finfo(total.dtype).eps, atol=1e-7)
    # Each of three operations, and the norm, is rounded to the norm's dtype.
    assert get_total_norm([p.grad.double() for p in params], order) <= limit * (1 + 4 * torch.finfo(torch.bfloat16).eps)
    if total < limit * 0.9:
        assert_same_bits([p.grad for p in params], tensors(drawn))


@settings(max_examples=100, deadline=None)
@given(lists(NUMBERS), st.floats(0, 6e4), st.sampled_from([None, True, False]))
def test_any_values_are_clipped_as_they_are_in_torch(drawn, limit, foreach):
    ours, theirs = parameters(tensors(drawn)), parameters(tensors(drawn))
    clip_grad_value_(ours, limit, foreach)
    utils.clip_grad_value_(theirs, limit, foreach)
    assert_same_bits([p.grad for p in ours], [p.grad for p in theirs])
