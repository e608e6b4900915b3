"""Copies, pickles and what an optimizer prints."""

import copy
import pickle

import pytest
import torch

from tests.conformance import wrong
from tests.conformance.harness import conforms
from tests.conformance.problems import assert_params, assert_saved, both, run

COPIES = {"copy.deepcopy": copy.deepcopy, "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer))}


def attributes(optimizer):
    """What an optimizer shows: its own attributes and its class's properties, without underscore."""
    properties = {name for name in dir(type(optimizer)) if isinstance(getattr(type(optimizer), name), property)}
    names = vars(optimizer).keys() | properties
    return {name: getattr(optimizer, name) for name in sorted(names) if not name.startswith("_") and name != "step"}


def plain(value):
    """Values that == compares: tensors by their contents, and a state by the order of its parameters."""
    if isinstance(value, torch.Tensor):
        return type(value).__name__, str(value.dtype), value.detach().to_dense().tolist()
    if isinstance(value, dict):
        return [(plain(key), plain(item)) for key, item in value.items()]
    return [type(value).__name__, *map(plain, value)] if isinstance(value, (list, tuple)) else value


@conforms(wrong.copies_no_attributes)
def test_copies_have_all_public_attributes(subject):
    """Every public attribute of a copy and of a pickle equals the original's, and torch's are among them."""
    (_, ours), (_, theirs) = both(subject, 2)
    expected = attributes(ours)
    assert attributes(theirs).keys() <= expected.keys()
    for name, make in COPIES.items():
        other = attributes(make(ours))
        assert other.keys() == expected.keys(), name
        for attribute, value in expected.items():
            assert plain(other[attribute]) == plain(value), f"{name}: {attribute}"


@conforms(wrong.copies_no_state)
def test_copies_go_on_as_the_original_does(subject):
    """Copies and pickles share nothing with the original, and take the steps that it takes; so do torch's."""
    for make in COPIES.values():
        (mine, ours), (its, theirs) = both(subject, 2)
        other = make(ours)
        params = other.param_groups[0]["params"]
        before = copy.deepcopy(other.state_dict())
        run(subject, ours, mine, 2)
        assert_saved(subject, other.state_dict(), before)
        run(subject, other, params, 2)
        run(subject, theirs, its, 2)
        assert_params(subject, params, mine)
        assert_params(subject, params, its)


@conforms(wrong.prints_nothing)
def test_it_prints_as_torchs(subject):
    """``repr`` is torch's, with the same group keys and values."""
    (_, ours), (_, theirs) = both(subject)
    capturable = subject.kwargs.get("capturable")
    expected = repr(theirs).replace("capturable: False", "capturable: True") if capturable else repr(theirs)
    assert repr(ours) == expected


def test_the_comparison_of_attributes_can_fail():
    assert plain({"a": torch.ones(2)}) == plain({"a": torch.ones(2)})
    assert plain({"a": torch.ones(2)}) != plain({"a": torch.zeros(2)})
    assert plain((1, 2)) != plain([1, 2])
    with pytest.raises(AssertionError):
        assert plain([torch.ones(1)]) == plain([torch.ones(1, dtype=torch.float64)])
