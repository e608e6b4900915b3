"""What a range test takes for batches, and how it calls the model."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.schedules.range_testing import Weight
from torchopt_notes.schedules import lr_range_test


class Takes(nn.Module):
    """Notes how it was called."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, *args, **kwargs):
        CALLS.append((args, kwargs))
        return self.w


CALLS = []


def calls(batches, **options):
    CALLS.clear()
    model = Takes()
    found = lr_range_test(
        model,
        lambda w, target: CALLS.append(target) or w**2,
        batches,
        torch.optim.SGD(model.parameters(), lr=1.0),
        **{"steps": 2, "end": 1e-3} | options,
    )
    return found, list(zip(CALLS[::2], CALLS[1::2], strict=True))


ONE, TWO = torch.tensor([1.0]), torch.tensor([2.0])


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (ONE, (ONE,), {}),
        ((ONE, TWO), (ONE, TWO), {}),
        ([ONE, [TWO]], (ONE, [TWO]), {}),
        ({"a": ONE, "b": {"c": TWO}}, (), {"a": ONE, "b": {"c": TWO}}),
        ("text", ("text",), {}),
    ],
)
def test_how_the_model_is_called(inputs, args, kwargs, pair):
    _, seen = calls([pair((inputs, [TWO, "label"]))])
    assert seen == [((args, kwargs), [TWO, "label"])] * 2


def test_a_packed_sequence_is_one_input():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    _, seen = calls([(packed, 0)])
    assert all(torch.equal(args[0].data, packed.data) and len(args) == 1 for (args, _), _ in seen)


class Elsewhere:
    """Something that can be moved."""

    def __init__(self, device="elsewhere"):
        self.device = device

    def to(self, device):
        return Elsewhere(device)


def test_batches_are_moved_to_the_model():
    given = Elsewhere()
    _, seen = calls([((given, {"a": [given]}), (given,))])
    ((args, _), targets), _ = seen
    moved = (args[0], args[1]["a"][0], targets[0])
    assert [one.device for one in moved] == [torch.device("cpu")] * 3
    assert given.device == "elsewhere"


def test_nothing_is_moved_when_parameters_are_in_several_places():
    model = Weight()
    model.elsewhere = nn.Parameter(torch.ones((), device="meta"))
    seen = []
    lr_range_test(
        model,
        lambda w, target: seen.append(target.device) or w**2,
        [(0, Elsewhere())],
        torch.optim.SGD([model.w], lr=1.0),
        steps=2,
    )
    assert seen == ["elsewhere"] * 2


def test_what_ends_is_begun_anew():
    _, seen = calls([(i, i) for i in range(3)], steps=7)
    assert [target for _, target in seen] == [0, 1, 2, 0, 1, 2, 0]


def test_an_iterator_ends_the_test_and_no_batch_more_than_needed_is_taken():
    coming = iter([(i, i) for i in range(5)])
    found, seen = calls(coming, steps=3)
    assert [target for _, target in seen] == [0, 1, 2]
    found, seen = calls(coming, steps=9)
    assert [target for _, target in seen] == [3, 4]
    assert (len(found.lrs), found.diverged, found.suggestion) == (2, False, None)
    with pytest.raises(ValueError, match="batches gave no batch at all; an iterator that has been used up"):
        calls(coming)


@pytest.mark.parametrize("nothing", [[], (), iter(()), DataLoader([])])
def test_no_batch_at_all(nothing):
    with pytest.raises(ValueError, match="batches gave no batch at all"):
        calls(nothing)


@pytest.mark.parametrize(
    ("batch", "got"),
    [(torch.ones(2, 3), "Tensor"), ((1, 2, 3), "tuple of 3"), ([1], "list of 1"), ({"x": 1, "y": 2}, "dict")],
)
def test_batches_that_are_no_pairs(batch, got):
    with pytest.raises(TypeError, match=rf"batches must give pairs \(inputs, targets\), got {got}$"):
        calls([batch])


# That it leaves no trace
