"""Layer-wise learning rates: numbers worked out by hand, and layers that cannot be told."""

import pytest
import torch
from torch import nn

from torchopt_notes.groups import param_groups

from .models import GPT, Block, ResNet, ViT, option


def rates(model, layer_decay=0.5, lr=0.8, **kwargs):
    return option(param_groups(model, lr=lr, layer_decay=layer_decay, **kwargs), "lr")


def by_module(model, **kwargs):
    """The learning rates of each of the model's own modules and parameters; ``blocks.0`` counts as one."""
    found = {}
    for name, lr in rates(model, **kwargs).items():
        parts = name.split(".")
        found.setdefault(".".join(parts[:2]) if parts[1:] and parts[1].isdigit() else parts[0], set()).add(lr)
    assert all(len(values) == 1 for values in found.values())
    return {name: values.pop() for name, values in found.items()}


def test_a_gpt_by_hand():
    """Two blocks: 0.8 behind them, then half of that for each layer towards the input."""
    expected = {"wte": 0.1, "wpe": 0.1, "h.0": 0.2, "h.1": 0.4, "ln_f": 0.8}
    assert by_module(GPT(2)) == pytest.approx(expected, rel=1e-15)


def test_a_vit_by_hand():
    """The head is a stack of layers too; a stack of single layers is none beside one of blocks."""
    expected = {
        "cls_token": 0.05,
        "pos_embed": 0.05,
        "patch_embed.0": 0.05,
        "patch_embed.1": 0.05,
        "blocks.0": 0.1,
        "blocks.1": 0.2,
        "blocks.2": 0.4,
        "norm": 0.8,
        "head.0": 0.8,
        "head.2": 0.8,
    }
    assert by_module(ViT(3)) == pytest.approx(expected, rel=1e-15)


def test_the_formula_of_beit():
    """lr · ξ^(L + 1 - layer id), the id of block i being i + 1."""
    lr = by_module(GPT(12), layer_decay=0.65, lr=5e-4)
    for i in range(12):
        assert lr[f"h.{i}"] == pytest.approx(5e-4 * 0.65 ** (13 - (i + 1)), rel=1e-15)
    assert lr["wte"] == pytest.approx(5e-4 * 0.65**13, rel=1e-15)
    assert lr["ln_f"] == 5e-4


def test_decay_and_layers_are_independent():
    groups = param_groups(GPT(2), lr=1.0, layer_decay=0.5, weight_decay=0.1)
    expected = [(0.125, 0.1), (0.25, 0.0), (0.25, 0.1), (0.5, 0.0), (0.5, 0.1), (1.0, 0.0)]
    assert sorted((group["lr"], group["weight_decay"]) for group in groups) == expected


def test_frozen_layers_leave_the_others_where_they_are():
    before = rates(GPT(3))
    model = GPT(3)
    model.h[1].requires_grad_(False)
    model.wte.requires_grad_(False)
    after = rates(model)
    assert after.keys() == {name for name in before if not name.startswith(("h.1.", "wte."))}
    assert after.items() <= before.items()


def test_a_tied_tensor_has_its_lowest_depth():
    model = nn.Module()
    model.lm_head = nn.Linear(4, 7, bias=False)
    model.blocks = nn.ModuleList([Block(), Block()])
    model.out = nn.Linear(4, 4)
    model.out.weight = model.blocks[0].attn.out_proj.weight
    lr = rates(model)
    assert lr["blocks.0.attn.out_proj.weight"] == 0.2
    assert "out.weight" not in lr
    assert lr["out.bias"] == 0.8


def test_shared_blocks_have_the_depth_of_their_first_use():
    shared = Block()
    model = nn.Sequential(shared, Block(), shared)
    assert (rates(model)["0.layer_scale"], rates(model)["1.layer_scale"]) == (0.2, 0.4)


def test_plain_layers_are_layers_where_there_is_nothing_else():
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 3), nn.Linear(3, 2))
    assert rates(model) == {f"{i}.{k}": lr for i, lr in ((0, 0.1), (2, 0.2), (3, 0.4)) for k in ("weight", "bias")}


def test_the_outermost_stack_counts():
    """Stages of blocks: each stage is a layer."""
    model = nn.Sequential(*(nn.Sequential(Block(), Block()) for _ in range(2)))
    assert rates(model)["0.1.layer_scale"] == rates(model)["0.0.layer_scale"] == 0.2
    assert rates(model)["1.0.layer_scale"] == 0.4


def test_parametrized_layers_are_still_layers():
    """Each has a class of its own, made for it, and modules inside."""
    model = nn.Sequential(*(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)) for _ in range(2)))
    assert type(model[0]) is not type(model[1])
    assert by_module(model) == {"0": 0.2, "1": 0.4}
    assert rates(nn.ModuleDict({"blocks": nn.Sequential(Block(), Block()), "head": model}))["head.0.bias"] == 0.8


def test_a_stack_with_two_names():
    model = GPT(2)
    model.alias = model.h
    assert rates(model) == rates(GPT(2))


def test_a_wrapper_is_no_stack():
    model = nn.Sequential(GPT(2), nn.Linear(7, 2))
    lr = rates(model)
    assert (lr["0.wte.weight"], lr["0.h.1.layer_scale"], lr["1.weight"]) == (0.1, 0.4, 0.8)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x):
        return x + self.shift


def parametrized_twice():
    linear = nn.Linear(2, 2)
    for _ in range(2):
        nn.utils.parametrize.register_parametrization(linear, "weight", Shift())
    return linear


def two_perceptrons():
    return nn.ModuleDict({k: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for k in ("features", "classifier")})


NONE = "no nn.ModuleList or nn.Sequential holds two or more of one class"


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (ResNet(), "several: 'layer1', 'layer2'"),
        (nn.Transformer(4, 2, 2, 2, 8, batch_first=True), "several: 'encoder.layers', 'decoder.layers'"),
        (two_perceptrons(), "several: 'features', 'classifier'"),
        (nn.LSTM(2, 2, 3), NONE),
        (parametrized_twice(), NONE),
        (nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2), nn.Conv1d(2, 2, 1)), NONE),
        (GPT(1), NONE),  # and not the two layers in its block
        (ViT(1), NONE),  # and not those of the head
    ],
    ids=[
        "stages",
        "encoder-decoder",
        "layers",
        "recurrent",
        "parametrizations",
        "convolutions",
        "one block",
        "one block and a head",
    ],
)
def test_layers_that_cannot_be_told_are_asked_for(model, problem):
    with pytest.raises(ValueError, match="layer_decay cannot tell") as error:
        rates(model)
    assert problem in str(error.value)
    assert "pass layers" in str(error.value)


def test_layers_by_the_name_of_their_container():
    model = nn.Transformer(4, 2, 2, 1, 8, batch_first=True)
    lr = rates(model, layers="encoder.layers")
    assert lr["encoder.layers.0.linear1.weight"] == 0.2
    assert lr["encoder.layers.1.linear1.weight"] == 0.4
    assert lr["decoder.layers.0.linear1.weight"] == 0.8
    assert rates(model, layers="decoder.layers")["encoder.layers.0.linear1.weight"] == 0.2
    assert rates(GPT(2), layers="h") == rates(GPT(2))


def test_a_containers_name_is_not_a_prefix():
    model = nn.ModuleDict({"h": nn.ModuleList([Block()]), "h2": nn.ModuleList([Block()])})
    assert by_module(model, layers="h") == {"h.0": 0.4, "h2.0": 0.8}


RESNET = [["conv1", "bn1"], "layer1", "layer2", "fc"]


def test_layers_by_patterns_from_input_to_output():
    lr = rates(ResNet(), layers=RESNET)
    expected = {
        "conv1.weight": 0.1,
        "bn1.bias": 0.1,
        "layer1.1.1.weight": 0.2,
        "layer2.0.0.weight": 0.4,
        "fc.bias": 0.8,
    }
    assert expected.items() <= lr.items()


def test_layers_by_a_callable():
    lr = rates(ResNet(), layers=lambda name, param: 2 if name.startswith("fc") else int(name.startswith("layer")))
    assert (lr["conv1.weight"], lr["layer2.0.0.weight"], lr["fc.weight"]) == (0.2, 0.4, 0.8)


def test_the_deepest_layer_stays_deepest_when_it_is_frozen():
    def depth(name, _):
        return int(name.startswith("1."))

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].requires_grad_(False)
    assert set(rates(model, layers=depth).values()) == {0.4}
    assert set(rates(model, layers=["0", "1"]).values()) == {0.4}


def test_patterns_may_leave_frozen_parameters_and_other_names_of_tied_ones():
    model = GPT(1)
    model.wpe.requires_grad_(False)
    lr = rates(model, layers=["wte", "h", "ln_f"])
    assert lr["wte.weight"] == 0.2


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (RESNET[:-1], ValueError, "2 trainable parameters are in none of the layers, such as 'fc.weight', 'fc.bias'"),
        ([], ValueError, "in none of the layers"),
        ([*RESNET, "layer2.1"], ValueError, r"'layer2.1.0.weight' is in two layers, 2 \('layer2'\) and 4"),
        ([*RESNET, "layer3"], ValueError, "layers pattern 'layer3' matches no parameter; did you mean 'layer"),
        ([0, 1], TypeError, "a pattern in layers must be a string, got int"),
        ("layer", ValueError, "layers='layer' is no module of the model; did you mean 'layer"),
        ("layer1.0.2", ValueError, "layers='layer1.0.2' holds no modules with parameters"),
        (3, TypeError, "layers cannot be of type int"),
        (nn.Linear(1, 1), TypeError, "layers cannot be of type Linear"),
        (lambda name, param: -1, ValueError, "layers gave -1 for parameter 'conv1.weight'"),
        (lambda name, param: 0.5, ValueError, "layers gave 0.5"),
        (lambda name, param: None, ValueError, "layers gave None"),
    ],
)
def test_layers_that_make_no_sense(layers, error, message):
    with pytest.raises(error, match=message):
        rates(ResNet(), layers=layers)


def test_layers_without_layer_decay():
    with pytest.raises(ValueError, match="layers has a meaning only with layer_decay"):
        param_groups(GPT(), lr=0.1, layers="h")


@pytest.mark.parametrize("layer_decay", [0, -0.1, 1.01, float("nan"), float("inf"), "0.5", torch.tensor(0.5)])
def test_layer_decay_out_of_range(layer_decay):
    with pytest.raises(ValueError, match=r"layer_decay must be a number in \(0, 1\]"):
        param_groups(GPT(), lr=0.1, layer_decay=layer_decay)


def test_layer_decay_of_one_changes_nothing():
    assert set(rates(GPT(), layer_decay=1).values()) == {0.8}


def test_layer_decay_needs_a_learning_rate():
    with pytest.raises(ValueError, match="layer_decay scales lr, which is missing"):
        param_groups(GPT(), layer_decay=0.5)


def test_schedulers_scale_every_layer():
    optimizer = torch.optim.SGD(param_groups(GPT(2), lr=0.8, layer_decay=0.5), lr=123.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    before = [group["lr"] for group in optimizer.param_groups]
    optimizer.step()
    scheduler.step()
    assert max(before) == 0.8
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([lr / 2 for lr in before])
