"""What the engine asks about many tensors at once, by torch's private guards and without them."""

import gc
import weakref

import pytest
import torch

from torchopt_notes.engine import tensor_facts
from torchopt_notes.engine.tensor_facts import Facts, tensor_guards


@pytest.fixture(params=["guards", "plain"], autouse=True)
def path(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(tensor_facts, "tensor_guards", lambda: None)
    return request.param


def make():
    return [torch.nn.Parameter(torch.ones(3, 4)), torch.ones(4, 4), torch.ones(())]


class Subclass(torch.Tensor):
    pass


CHANGES = {
    "dtype": lambda t: t.double(),
    "shape": lambda t: torch.ones(2, 8),
    "fewer elements": lambda t: t[:2],
    "more dimensions": lambda t: t[None],
    "strides": lambda t: t.t(),
    "gaps": lambda t: torch.ones(4, 8)[:, ::2],
    "device": lambda t: t.to("meta"),
    "layout": lambda t: t.to_sparse(),
    "negated lazily": lambda t: torch._neg_view(t),
    "subclass": lambda t: t.as_subclass(Subclass),
    "nothing": lambda t: None,
}


def test_the_path_is_the_one_that_is_meant(path):
    """So that a version of torch without the guards is noticed, rather than slow."""
    assert (Facts(make())._guards is not None) == (path == "guards")


def test_facts_hold_for_whatever_is_alike():
    tensors = make()
    facts = Facts(tensors)
    assert facts.hold(tensors)
    assert facts.hold(make())


@pytest.mark.parametrize("change", CHANGES)
def test_facts_do_not_hold_for_what_differs(change):
    tensors = make()
    facts = Facts(tensors)
    assert not facts.hold([tensors[0], CHANGES[change](tensors[1]), tensors[2]])


def test_a_conjugated_tensor_differs():
    tensors = [torch.ones(3, dtype=torch.complex64)]
    assert not Facts(tensors).hold([tensors[0].conj()])
    assert Facts(tensors).hold([tensors[0].conj().resolve_conj()])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.t_(),
        lambda t: t.resize_(2, 4),
        lambda t: setattr(t, "data", t.data[:2]),
        lambda t: setattr(t, "data", t.data.t()),
        lambda t: setattr(t, "data", t.data.view(torch.int32)),
    ],
    ids=["transposed", "resized", "cut", "transposed data", "reinterpreted"],
)
def test_a_tensor_that_changes_in_place(change):
    """All at the same address, and the same object."""
    tensors = make()
    facts = Facts(tensors)
    address = tensors[1].data_ptr()
    change(tensors[1])
    assert tensors[1].data_ptr() == address
    assert not facts.hold(tensors)


def test_a_tensor_that_comes_twice():
    tensor = torch.ones(3)
    assert Facts([tensor, tensor]).hold([tensor, tensor])
    assert not Facts([tensor, tensor]).hold([tensor, torch.ones(4)])


def test_a_tensor_without_strides():
    assert Facts([torch.eye(3).to_sparse()]).hold([torch.eye(3).to_sparse()])


def test_a_tensor_that_a_transform_of_functions_has_wrapped():
    facts, seen = Facts([torch.ones(3)]), []

    def watch(tensor):
        seen.append(facts.hold([tensor]))
        return tensor

    torch.func.grad(lambda tensor: watch(tensor).sum())(torch.ones(3))
    assert seen == [False] or facts._guards is None  # asked plainly, it looks like any other


def test_nothing_is_kept_alive():
    tensors = [torch.ones(3), torch.ones(4)]
    facts, watched = Facts(tensors), weakref.ref(tensors[0])
    del tensors[0]
    gc.collect()
    assert watched() is None
    assert facts.hold([torch.ones(3), *tensors])


@pytest.mark.parametrize("answer", [True, False, TypeError("wrong arguments")])
def test_guards_that_do_not_do_what_they_did_are_not_used(answer, monkeypatch):
    class Guards:
        def __init__(self, *tensors, dynamic_dims_sizes, dynamic_dims_strides):
            if isinstance(answer, Exception):
                raise answer

        def check(self, *tensors):
            return answer

    assert tensor_guards() is not None
    monkeypatch.setattr(torch._C._dynamo.guards, "TensorGuards", Guards)
    tensor_guards.cache_clear()
    try:
        assert tensor_guards() is None
    finally:
        tensor_guards.cache_clear()


def test_guards_that_are_gone_are_not_used(monkeypatch):
    monkeypatch.delattr(torch._C._dynamo.guards, "TensorGuards")
    tensor_guards.cache_clear()
    try:
        assert tensor_guards() is None
    finally:
        tensor_guards.cache_clear()
