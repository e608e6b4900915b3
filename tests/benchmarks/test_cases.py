"""Parameter lists: what is published, what fits, and what an optimizer is given."""

import math

import pytest
import torch

from benchmarks.cases import CASES, Case, count, find_cases, shrunk, synthetic
from benchmarks.cases.language import LLAMA_1B, LLAMA_7B

PUBLISHED = {
    "resnet-50": 25_557_032,
    "resnet-101": 44_549_160,
    "vit-b-16": 86_567_656,
    "gpt2-124m": 124_439_808,
    "llama-7b": 6_738_415_616,
    "llama-1b": 1_235_814_400,
    "lora-7b": 8_388_608,
    "one-20m": 20_000_000,
    "one-200m": 200_000_000,
}
TENSORS = {"resnet-50": 161, "resnet-101": 314, "gpt2-124m": 148, "tiny-2000": 2_000, "groups-465": 465}


def shapes_of(name, room=math.inf):
    (case,) = find_cases([name])
    return case.shapes(room)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_has_as_many_parameters_as_is_published(name):
    assert count(shapes_of(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", TENSORS)
def test_a_model_has_as_many_tensors_as_torch_counts(name):
    assert len(shapes_of(name)) == TENSORS[name]


def test_the_embedding_has_more_elements_than_an_int32_counts():
    assert count(shapes_of("embedding")) > 2**31
    assert find_cases(["embedding"])[0].devices == ("cuda",)


def test_a_count_notices_what_is_missing():
    shapes = shapes_of("resnet-50")
    assert count(shapes[:-1]) != PUBLISHED["resnet-50"]
    assert count([(), (2, 3)]) == 7


@pytest.mark.parametrize("model", [LLAMA_7B, LLAMA_1B], ids=["7b", "1b"])
@pytest.mark.parametrize("room", [10**9, 3 * 10**8, 5 * 10**7, 10**6, 10**3])
def test_as_many_layers_as_fit(model, room):
    shapes = model.shapes(room)
    layer = model.layer()
    layers = sum(shape == (model.hidden, model.width) for shape in shapes) // 2
    assert count(shapes) <= max(room, model.width)
    # One more would not fit, unless it has all of them.
    assert layers == model.depth or count(shapes) + count(layer) > room
    outside = len(shapes) - layers * len(layer)
    ends = (model.vocabulary, model.width)
    assert (ends in shapes) is (outside > 1) is (count([ends] * (1 if model.tied else 2)) + model.width <= room / 2)


def test_what_fits_depends_on_the_room():
    totals = [count(LLAMA_7B.shapes(room)) for room in (10**9, 2 * 10**9, 10**10)]
    assert totals[0] < totals[1] < totals[2] == PUBLISHED["llama-7b"]


def test_parameters_have_gradients_but_for_the_missing_ones():
    case = Case("some", "", lambda room: [], missing=3)
    params = case.make([(5,)] * 7, "cpu", torch.float32)
    assert [param.grad is None for param in params] == [False, False, True, False, False, True, False]
    everyone = Case("all", "", lambda room: []).make([(5,)] * 7, "cpu", torch.float32)
    assert all(param.grad is not None for param in everyone)


def test_half_of_the_gradients_are_missing():
    (case,) = find_cases(["half-missing"])
    params = case.make(shrunk(case.shapes(math.inf)), "cpu", torch.float32)
    assert [param.grad is None for param in params] == [False, True] * 12


def test_numbers_are_neither_zero_nor_the_same():
    case = Case("some", "", lambda room: [])
    first, again, other = (case.make([(100,)], "cpu", torch.bfloat16, seed)[0] for seed in (0, 0, 1))
    assert first.dtype == first.grad.dtype == torch.bfloat16
    assert first.detach().unique().numel() > 50
    assert not torch.equal(first, first.grad)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_group_each_or_one_for_all():
    (case,) = find_cases(["groups-465"])
    params = case.make([(2,)] * 3, "cpu", torch.float32)
    assert len(torch.optim.SGD(case.groups(params)).param_groups) == 3
    (plain,) = find_cases(["tiny-2000"])
    assert len(torch.optim.SGD(plain.groups(params)).param_groups) == 1


def test_uneven_sizes_lie_between_ten_and_a_hundred_thousand():
    sizes = [size for (size,) in synthetic.uneven(465)]
    assert min(sizes) == 10
    assert 90_000 < max(sizes) < 100_000
    assert len(set(sizes)) > 400
    assert sizes != sorted(sizes)


def test_a_likeness_is_small():
    for case in CASES:
        small = shrunk(case.shapes(10**9))
        assert len(small) <= 24
        assert all(size <= 48 for shape in small for size in shape)
    assert shrunk([(2, 1_000, 7)]) == [(2, 48, 7)]


def test_names_and_patterns_find_cases():
    assert [case.name for case in find_cases(["resnet-50", "tiny*"])] == ["tiny-2000", "tiny-20000", "resnet-50"]
    assert find_cases(["*"]) == CASES
    assert len({case.name for case in CASES}) == len(CASES)


def test_an_unknown_case_lists_what_there_is():
    with pytest.raises(ValueError, match=r"no case is called 'resnet50'; there are one-20m, .*, embedding") as caught:
        find_cases(["resnet-50", "resnet50"])
    assert all(case.name in str(caught.value) for case in CASES)
