"""torch's names, all of them, with torch's signatures, as subclasses of torch's classes."""

import inspect

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours


def parameters(of):
    return [(one.name, one.default, one.kind) for one in inspect.signature(of).parameters.values()]


def test_no_name_of_torch_is_missing_and_none_is_added():
    assert sorted(ours.__all__) == sorted(torchs.__all__)


@pytest.mark.parametrize("name", torchs.__all__)
def test_signatures_are_those_of_torch(name):
    assert parameters(getattr(ours, name)) == parameters(getattr(torchs, name))
    for method in ("step", "get_lr", "get_last_lr", "state_dict", "load_state_dict"):
        mine, theirs = (getattr(getattr(module, name), method) for module in (ours, torchs))
        assert parameters(mine) == parameters(theirs), method


def test_another_default_would_be_noticed():
    class Other(ours.StepLR):
        def __init__(self, optimizer, step_size, gamma=0.2, last_epoch=-1): ...

    assert parameters(Other) != parameters(torchs.StepLR)


@pytest.mark.parametrize("name", torchs.__all__)
def test_whoever_asks_for_the_class_of_torch_gets_it(name):
    mine, theirs = getattr(ours, name), getattr(torchs, name)
    assert issubclass(mine, theirs)
    assert issubclass(mine, torchs.LRScheduler)
    assert mine.__name__ == theirs.__name__
    assert (mine is theirs) == (name == "LRScheduler")


@pytest.mark.parametrize("name", torchs.__all__)
def test_every_public_attribute_of_the_class_of_torch_is_there(name):
    assert {one for one in dir(getattr(torchs, name)) if not one.startswith("__")} <= set(dir(getattr(ours, name)))


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
def test_constructors_that_are_wrapped_take_the_optimizer_by_name_too(name):
    from .cases import OPTIMIZERS

    bounds = {"base_lr": 0.1, "max_lr": 0.2} if name == "CyclicLR" else {"max_lr": 0.2, "total_steps": 9}
    optimizer = OPTIMIZERS["torch SGD"]()
    assert getattr(ours, name)(optimizer=optimizer, **bounds).optimizer is optimizer
