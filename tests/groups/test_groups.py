"""What holds for every model: each trainable parameter once, in the model's order, under its name, in any optimizer."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchopt_notes
from torchopt_notes.groups import param_groups

from .models import GPT, ViT, option

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"


def leaf():
    kinds = [
        lambda: nn.Linear(2, 2),
        lambda: nn.LayerNorm(2),
        lambda: nn.Embedding(3, 2),
        lambda: nn.Conv1d(2, 2, 1),
        lambda: nn.GRU(2, 2),
        nn.ReLU,
    ]
    return st.sampled_from(kinds).map(lambda make: make())


def tree():
    containers = st.sampled_from([nn.ModuleList, lambda modules: nn.Sequential(*modules)])
    return st.recursive(
        leaf(), lambda inner: st.builds(lambda make, parts: make(parts), containers, st.lists(inner, max_size=4))
    )


@st.composite
def models(draw):
    """Any tree of modules, with some parameters frozen and some tied."""
    model = nn.Sequential(nn.Linear(2, 2), draw(tree()))
    places = [(module, name) for module in model.modules() for name, _ in module.named_parameters(recurse=False)]
    for module, name in draw(st.lists(st.sampled_from(places), max_size=5)):
        same = [at for at in places if getattr(*at).shape == getattr(module, name).shape]
        setattr(module, name, getattr(*draw(st.sampled_from(same))))
    for module, name in draw(st.lists(st.sampled_from(places[1:]), max_size=5)):
        getattr(module, name).requires_grad_(getattr(module, name) is model[0].weight)
    return model


def depth(name, _):
    return name.count(".")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    model=models(),
    weight_decay=st.sampled_from([None, 0.0, 0.1]),
    no_decay=st.sampled_from(["norm-bias", "norm-bias-embedding", None, "0", lambda name, param: "1" in name]),
    layer_decay=st.sampled_from([None, 0.5, 1.0]),
    overrides=st.sampled_from([None, {"0.weight": {"lr": 0.3}}, {"0.weight": {"betas": [0.5, 0.6]}}]),
)
def test_every_trainable_parameter_is_in_one_group(model, weight_decay, no_decay, layer_decay, overrides):
    groups = param_groups(
        model,
        lr=0.1,
        weight_decay=weight_decay,
        no_decay=no_decay,
        layer_decay=layer_decay,
        layers=layer_decay and depth,
        overrides=overrides,
    )
    expected = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    place = {name: i for i, (name, _) in enumerate(expected)}
    members = [pair for group in groups for pair in group["params"]]
    assert sorted(place[name] for name, _ in members) == list(range(len(expected)))
    assert all(param is expected[place[name]][1] for name, param in members)
    for group in groups:
        places = [place[name] for name, _ in group["params"]]
        assert places == sorted(places) != []
    firsts = [place[group["params"][0][0]] for group in groups]
    assert firsts == sorted(firsts)
    options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    assert all(options.count(one) == 1 for one in options)
    torch.optim.AdamW(groups)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(models())
def test_the_larger_preset_exempts_more(model):
    small, large = (
        option(param_groups(model, weight_decay=0.1, no_decay=preset), "weight_decay")
        for preset in ("norm-bias", "norm-bias-embedding")
    )
    assert all(large[name] <= small[name] for name in small)


def test_equal_options_share_a_group():
    model = GPT(3)
    assert len(param_groups(model, weight_decay=0.1)) == 2
    assert len(param_groups(model, weight_decay=0)) == 1
    assert len(param_groups(model, weight_decay=0.1, overrides={"h.0": {"weight_decay": 0.1}})) == 3 - 1
    equal = {f"h.{i}": {"betas": betas} for i, betas in enumerate([(0.8, 0.9), [0.8, 0.9]])}
    assert len(param_groups(model, no_decay=None, overrides=equal)) == 2


def test_two_tensors_with_one_value_stay_apart():
    """One of them may be changed later on."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    shared = torch.tensor(0.5)
    lrs = {"0": {"lr": shared}, "1": {"lr": torch.tensor(0.5)}, "2": {"lr": shared}}
    groups = param_groups(model, no_decay=None, overrides=lrs)
    assert [[name for name, _ in group["params"]] for group in groups] == [
        ["0.weight", "0.bias", "2.weight", "2.bias"],
        ["1.weight", "1.bias"],
    ]
    assert groups[0]["lr"] is shared


def test_the_order_does_not_depend_on_the_values():
    def members(**kwargs):
        return [[name for name, _ in group["params"]] for group in param_groups(ViT(), **kwargs)]

    assert members(weight_decay=0.1) == members(weight_decay=0.3, lr=1.0)
    assert members(lr=1, layer_decay=0.5, weight_decay=0.1) == members(lr=2, layer_decay=0.9, weight_decay=9)


OPTIMIZERS = [torch.optim.AdamW, torchopt_notes.AdamW, torch.optim.SGD, torchopt_notes.LAMB]


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda cls: f"{cls.__module__.partition('.')[0]}-{cls.__name__}")
def test_state_dicts_keep_the_names(cls):
    model = ViT(2)
    optimizer = cls(param_groups(model, lr=0.1, weight_decay=0.2, layer_decay=0.5))
    saved = optimizer.state_dict()["param_groups"]
    names = {
        number: name for group in saved for number, name in zip(group["params"], group["param_names"], strict=True)
    }
    assert sorted(names.values()) == sorted(name for name, _ in model.named_parameters())
    live = {
        name: param
        for group in optimizer.param_groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
    }
    assert all(live[name] is param for name, param in model.named_parameters())
    again = cls(param_groups(model, lr=9.0, weight_decay=9.0, layer_decay=0.1))
    again.load_state_dict(optimizer.state_dict())
    assert again.state_dict() == optimizer.state_dict()


def test_both_packages_make_the_same_steps():
    def train(cls):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        groups = param_groups(model, lr=0.1, weight_decay=0.2, overrides={"2": {"lr": 0.3, "betas": (0.5, 0.6)}})
        optimizer = cls(groups, lr=1e9)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        return torch.cat([param.flatten() for param in model.parameters()])

    assert torch.equal(train(torchopt_notes.AdamW), train(torch.optim.AdamW))


def test_the_learning_rate_is_the_optimizers_unless_it_is_given():
    model = nn.Linear(2, 2)
    assert all("lr" not in group for group in param_groups(model))
    assert {group["lr"] for group in torch.optim.SGD(param_groups(model), lr=0.3).param_groups} == {0.3}
    assert {group["lr"] for group in torch.optim.SGD(param_groups(model, lr=0.2), lr=0.3).param_groups} == {0.2}


def test_overrides_go_last():
    model = GPT(2)
    groups = param_groups(
        model,
        lr=0.8,
        weight_decay=0.1,
        layer_decay=0.5,
        overrides={"h.0.norm": {"weight_decay": 0.7, "lr": 5.0}, "*.in_proj_bias": {"momentum": 0.3}},
    )
    assert option(groups, "lr")["h.0.norm.weight"] == 5.0
    assert option(groups, "weight_decay")["h.0.norm.weight"] == 0.7
    assert option(groups, "lr")["h.1.attn.in_proj_bias"] == 0.4
    assert option(groups, "weight_decay")["h.1.attn.in_proj_bias"] == 0
    momentum = option(groups, "momentum")
    assert {name for name in momentum if momentum[name]} == {f"h.{i}.attn.in_proj_bias" for i in (0, 1)}


@pytest.mark.parametrize("name", ["wte", "lm_head.weight"])
def test_overrides_know_tied_parameters_by_every_name(name):
    assert option(param_groups(GPT(1), overrides={name: {"lr": 3.0}}), "lr")["wte.weight"] == 3.0


def test_overrides_leave_frozen_parameters_out():
    model = GPT(1)
    model.h.requires_grad_(False)
    model.h[0].norm.requires_grad_(True)
    overrides = {"h": {"lr": 3.0}, "*.in_proj_*": {"lr": 2.0}}
    with pytest.raises(ValueError, match="matches only frozen parameters"):
        param_groups(model, overrides=overrides)
    model.extra = nn.MultiheadAttention(4, 2)
    lr = option(param_groups(model, overrides=overrides), "lr")
    assert {name: value for name, value in lr.items() if value} == {
        "h.0.norm.weight": 3.0,
        "extra.in_proj_weight": 2.0,
        "extra.in_proj_bias": 2.0,
    }


def test_the_examples_in_the_docs_print_what_they_show(capsys):
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    assert "elements" in blocks[0][1]
    for code, shown in blocks:
        exec(compile(code, PAGE.name, "exec"), {})
        assert capsys.readouterr().out == shown
