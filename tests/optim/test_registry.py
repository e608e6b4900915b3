"""Optimizers by name: complete without a list, forgiving about spelling, helpful about what is unknown."""

import inspect

import pytest
import torch

import torchopt_notes
from torchopt_notes import SGD, Adam, Momentum, Optimizer, create_optimizer, list_optimizers
from torchopt_notes.optim import registry
from torchopt_notes.testing.matrix import required

ENTRIES = [(name, cls, {}) for name, cls in registry.optimizers().items()] + [
    (alias, cls, arguments)
    for cls in registry.optimizers().values()
    for alias, arguments in registry.own_aliases(cls).items()
]


def weight():
    return torch.nn.Parameter(torch.ones(2, 3))


def descendants(cls):
    return {cls}.union(*map(descendants, cls.__subclasses__()))


def test_every_optimizer_of_the_package_is_known():
    """What the engine's subclasses say, not what the registry reads: an optimizer that is not exported is found out."""
    there = {cls for cls in descendants(Optimizer) if cls.__module__.startswith("torchopt_notes.optim.")}
    assert {cls for cls in there if not cls.__name__.startswith("_")} == set(registry.optimizers().values())
    assert {SGD, Adam, Momentum} <= there
    assert list_optimizers() == sorted(cls.__name__.lower() for cls in registry.optimizers().values())


def test_no_two_names_are_alike():
    names = [registry._plain(name) for name, _, _ in ENTRIES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(("name", "cls", "arguments"), ENTRIES, ids=[name for name, _, _ in ENTRIES])
def test_names_and_aliases(name, cls, arguments):
    for spelling in (name, name.upper(), "-".join(name), f"{name[:1]}_{name[1:]}"):
        created = create_optimizer(spelling, [weight()], **required(cls))
        assert type(created) is cls
        assert created.defaults == cls([weight()], **{**required(cls), **arguments}).defaults
    if arguments:
        assert created.defaults != cls([weight()], **required(cls)).defaults


def test_the_callers_arguments_go_before_the_aliass():
    group = create_optimizer("nesterov", [weight()], momentum=0.5, lr=0.2).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["lr"]) == (0.5, True, 0.2)


def test_a_model_and_groups():
    model = torch.nn.Linear(3, 2)
    assert create_optimizer("adam", model).param_groups[0]["param_names"] == ["weight", "bias"]
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias]}]
    assert [group["lr"] for group in create_optimizer("adam", groups, lr=0.2).param_groups] == [0.1, 0.2]


def test_an_alias_belongs_to_the_class_that_declares_it(monkeypatch):
    monkeypatch.setattr(Adam, "aliases", {"adam2": {"amsgrad": True}})
    assert type(create_optimizer("adam-2", [weight()])) is Adam
    assert create_optimizer("Adam_2", [weight()]).defaults["amsgrad"] is True


@pytest.mark.parametrize(
    ("name", "near"), [("admw", "'adamw'"), ("nesterow", "'nesterov'"), ("Moment", "'momentum'"), ("qqqq", None)]
)
def test_unknown_names(name, near):
    with pytest.raises(ValueError, match=rf"unknown optimizer '{name}'; .*list_optimizers\(\) lists all") as error:
        create_optimizer(name, [weight()])
    assert near in str(error.value) if near else "did you mean" not in str(error.value)


def test_patterns():
    names = list_optimizers()
    assert list_optimizers("*") == names
    assert list_optimizers("*W") == [name for name in names if name.endswith("w")]
    assert "adamw" in list_optimizers("Adam_[s-x]")
    assert "adamw" not in list_optimizers("adam[a-f]")
    assert list_optimizers("adam") == ["adam"]
    assert list_optimizers("no such") == []


def test_descriptions_are_sentences():
    described = list_optimizers(with_description=True)
    assert [name for name, _ in described] == list_optimizers()
    for name, text in described:
        assert text[:1].isupper(), name
        assert text.endswith("."), f"{name}: the first line of the docstring is no whole sentence: {text!r}"
    assert dict(described)["sgd"] == SGD.__doc__.splitlines()[0]


def test_the_registry_is_public():
    assert {"create_optimizer", "list_optimizers"} <= set(torchopt_notes.__all__)


@pytest.mark.parametrize("cls", list(registry.optimizers().values()), ids=lambda cls: cls.__name__)
def test_the_docstring_leads_to_the_options_that_all_take(cls):
    assert "EngineOptions" in inspect.getdoc(cls)
