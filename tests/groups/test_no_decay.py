"""Who decays: by what a tensor is to its module, on the modules that people use."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from torchopt_notes.groups import param_groups

from .models import GPT, RMSNorm, ViT, option


def undecayed(model, no_decay="norm-bias"):
    decay = option(param_groups(model, weight_decay=0.1, no_decay=no_decay), "weight_decay")
    assert set(decay.values()) <= {0.0, 0.1}
    return {name for name, value in decay.items() if value == 0}


def holding(module=None, **params):
    """A module with parameters of these shapes."""
    module = nn.Module() if module is None else module
    for name, shape in params.items():
        module.register_parameter(name, nn.Parameter(torch.ones(shape)))
    return module


def named(class_name):
    return type(class_name, (nn.Module,), {})()


@pytest.mark.parametrize(
    ("model", "matrices"),
    [
        (nn.Linear(3, 2), {"weight"}),
        (nn.Bilinear(2, 3, 2), {"weight"}),
        (nn.Conv2d(1, 2, 3), {"weight"}),
        (nn.ConvTranspose1d(1, 2, 3), {"weight"}),
        (nn.LSTM(3, 4, proj_size=2), {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"}),
        (nn.GRU(3, 4, bidirectional=True), {f"weight_{k}_l0{end}" for k in ("ih", "hh") for end in ("", "_reverse")}),
        (nn.Sequential(nn.Conv1d(1, 2, 3, bias=False), nn.BatchNorm1d(2), nn.PReLU()), {"0.weight"}),
        (
            nn.MultiheadAttention(4, 2, add_bias_kv=True, kdim=3, vdim=3),
            {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
        ),
        (
            nn.TransformerEncoderLayer(4, 2, 8),
            {"self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_weights_of_layers_decay_and_nothing_else(model, matrices):
    names = dict(model.named_parameters())
    assert matrices <= names.keys()
    assert undecayed(model) == names.keys() - matrices


NORMS = {
    "BatchNorm1d": nn.BatchNorm1d(2),
    "BatchNorm2d": nn.BatchNorm2d(2),
    "BatchNorm3d": nn.BatchNorm3d(2),
    "SyncBatchNorm": nn.SyncBatchNorm(2),
    "InstanceNorm1d": nn.InstanceNorm1d(2, affine=True),
    "InstanceNorm2d": nn.InstanceNorm2d(2, affine=True),
    "InstanceNorm3d": nn.InstanceNorm3d(2, affine=True),
    "GroupNorm": nn.GroupNorm(1, 2),
    "LayerNorm": nn.LayerNorm((2, 3, 3)),
    "RMSNorm": nn.RMSNorm((2, 3)),
    "by hand": RMSNorm(2, 3),
    "lower case": named("Layernorm"),
    "underscore": named("rms_norm"),
    "inherits": type("Gated", (RMSNorm,), {})(2, 3),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_what_normalization_layers_hold_does_not_decay(norm):
    """Whatever its dimensions, to which the rule on vectors does not apply."""
    assert undecayed(holding(norm, extra=(2, 2))) == {name for name, _ in norm.named_parameters()}


@pytest.mark.parametrize("name", ["WeightNorm", "SpectralNorm2d", "weight_norm", "Normalize", "PreNormBlock", "Normal"])
def test_what_only_sounds_like_a_norm_decays(name):
    assert undecayed(holding(named(name), weight=(2, 2), bias=(2,))) == {"bias"}


def test_only_a_norm_layers_own_parameters_are_a_norms():
    wrapper = named("PreNorm")
    wrapper.norm, wrapper.fn = nn.LayerNorm(2), nn.Linear(2, 2)
    assert undecayed(wrapper) == {"norm.weight", "norm.bias", "fn.bias"}


def test_biases_of_any_kind_and_shape():
    biases = {"bias", "in_proj_bias", "bias_ih_l0", "bias_k", "relative_position_bias_table", "biases", "bias2"}
    others = {"unbiased_weight", "debias", "weight"}
    assert undecayed(holding(**dict.fromkeys(biases | others, (2, 2)))) == biases
    assert undecayed(nn.MultiheadAttention(4, 2, add_bias_kv=True)) >= {"bias_k", "bias_v"}


def test_vectors_and_scalars_whatever_they_are():
    assert undecayed(holding(gain=(3,), temperature=(), row=(1, 3))) == {"gain", "temperature"}


def test_parametrized_tensors_are_what_they_parametrize():
    class Matrix(nn.Module):
        def forward(self, x):
            return x.sum(0)

        def right_inverse(self, x):
            return torch.stack([x, x]) / 2

    linear = parametrizations.weight_norm(nn.Linear(3, 2))
    parametrize.register_parametrization(linear, "bias", Matrix(), unsafe=True)
    norm = parametrizations.orthogonal(nn.LayerNorm((3, 3)))
    model = nn.ModuleDict({"fc": linear, "ln": norm, "sn": parametrizations.spectral_norm(nn.Linear(3, 2))})
    assert dict(model.named_parameters())["fc.parametrizations.bias.original"].ndim == 2
    assert undecayed(model) == {
        "fc.parametrizations.bias.original",
        "ln.parametrizations.weight.original",
        "ln.bias",
        "sn.bias",
    }


def test_a_parametrizations_own_parameters_are_their_own():
    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(2, 1))

        def forward(self, x):
            return x + self.factor

    norm = nn.LayerNorm((2, 2))
    parametrize.register_parametrization(norm, "weight", LowRank())
    assert undecayed(norm) == {"bias", "parametrizations.weight.original"}


def test_the_older_weight_norm():
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Linear(3, 2))
    assert undecayed(model) == {"bias"}


def test_lists_and_dicts_of_parameters_are_judged_with_their_container():
    def matrices():
        return nn.ParameterList([torch.ones(2, 2), torch.ones(2, 2)])

    model = nn.Module()
    model.biases, model.weights = matrices(), matrices()
    model.table = nn.ParameterDict({"bias": torch.ones(2, 2), "weight": torch.ones(2, 2)})
    model.norm = named("LayerNorm")
    model.norm.gains = matrices()
    assert undecayed(model) == {"biases.0", "biases.1", "table.bias", "norm.gains.0", "norm.gains.1"}
    assert undecayed(matrices()) == set()


EMBEDDINGS = {"cls_token", "pos_embed", "position_embeddings", "pos_emb_0", "reg_tokens"}


def test_embeddings_are_exempt_on_request():
    model = holding(**dict.fromkeys(EMBEDDINGS | {"embed_proj", "tokenwise"}, (1, 2, 3)))
    model.words, model.bag = nn.Embedding(3, 2), nn.EmbeddingBag(3, 2)
    model.parallel = holding(named("VocabParallelEmbedding"), weight=(2, 2))
    model.patch_embed = nn.Conv2d(1, 2, 2)
    assert undecayed(model) == {"patch_embed.bias"}
    extra = {"words.weight", "bag.weight", "parallel.weight"}
    assert undecayed(model, "norm-bias-embedding") == {"patch_embed.bias"} | EMBEDDINGS | extra


def test_a_vision_transformer():
    model = ViT(1)
    assert {"cls_token", "pos_embed"} & undecayed(model) == set()
    decays = dict(model.named_parameters()).keys() - undecayed(model, "norm-bias-embedding")
    assert decays == {
        "patch_embed.0.weight",
        "blocks.0.attn.in_proj_weight",
        "blocks.0.attn.out_proj.weight",
        "blocks.0.mlp.0.weight",
        "blocks.0.mlp.2.weight",
        "head.0.weight",
        "head.2.weight",
    }


def head_first():
    model = nn.Module()
    model.lm_head, model.wte = nn.Linear(4, 7, bias=False), nn.Embedding(7, 4)
    model.wte.weight = model.lm_head.weight
    return model


@pytest.mark.parametrize("make", [GPT, head_first])
def test_a_tied_tensor_is_exempt_by_any_of_its_names(make):
    """Whichever was registered first."""
    name = next(iter(dict(make().named_parameters())))
    assert name not in undecayed(make())
    assert name in undecayed(make(), "norm-bias-embedding")
    assert undecayed(make(), "lm_head.weight") == undecayed(make(), "wte") == {name}
    assert undecayed(make(), lambda name, _: name == "lm_head.weight") == {name}


def test_patterns():
    model = GPT(11)
    names = dict(model.named_parameters())
    assert undecayed(model, "*.bias") == {name for name in names if name.endswith(".bias")}
    assert undecayed(model, "h.1") == {name for name in names if name.startswith("h.1.")}
    assert not any(name.startswith("h.10.") for name in undecayed(model, "h.1"))
    assert undecayed(model, "h.?.norm") == {f"h.{i}.norm.weight" for i in range(10)}
    assert undecayed(model, "h.[02].norm.weight") == {"h.0.norm.weight", "h.2.norm.weight"}
    assert undecayed(model, ["ln_f", "wpe.weight"]) == {"ln_f.weight", "ln_f.bias", "wpe.weight"}


def test_presets_and_patterns_together():
    assert undecayed(GPT(), ("norm-bias", "wpe")) == undecayed(GPT()) | {"wpe.weight"}


def test_a_callable_decides_alone():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    assert undecayed(model, lambda name, param: param.ndim == 2) == {"0.weight"}


@pytest.mark.parametrize("nobody", [None, (), ""])
def test_without_exemptions_everything_decays(nobody):
    assert undecayed(nn.Linear(3, 2), nobody) == set()
    assert len(param_groups(nn.Linear(3, 2), weight_decay=0.1, no_decay=nobody)) == 1


def test_the_optimizers_decay_where_none_is_given():
    groups = param_groups(nn.Linear(3, 2))
    assert [group.get("weight_decay") for group in groups] == [None, 0.0]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_decay_reaches_the_weights_that_decay():
    model = nn.Linear(2, 1)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    optimizer = torch.optim.SGD(param_groups(model, weight_decay=0.5), lr=0.5)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    assert model.weight.tolist() == [[0.75, 0.75]]
    assert model.bias.tolist() == [1.0]


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("norm_bias", "did you mean 'norm-bias'"),
        ("bias", "'fc.bias'"),
        ("*.wieght", "'fc.weight'"),
        ("FC", "'fc'"),
        (["norm-bias", "*.fcc.*"], "'fc'"),
        ("xyz", "nothing is like it among 'fc', 'fc.weight', 'fc.bias', …"),
    ],
)
def test_a_pattern_that_matches_nothing(given, near):
    model = nn.ModuleDict({"fc": nn.Linear(3, 2)})
    with pytest.raises(ValueError, match="matches no parameter") as error:
        param_groups(model, no_decay=given)
    assert near in str(error.value)
    assert "'norm-bias-embedding'" in str(error.value)


def test_near_misses_are_nearest_first():
    with pytest.raises(ValueError, match=r"did you mean 'h\.1\.mlp\.0\.weight', "):
        param_groups(GPT(2), no_decay="h.1.mpl.0.weihgt")


@pytest.mark.parametrize("given", [True, 3, nn.Linear(1, 1), [nn.Parameter(torch.ones(1))], [None]])
def test_what_is_no_pattern_is_refused(given):
    with pytest.raises(TypeError, match="no_decay"):
        param_groups(nn.Linear(3, 2), no_decay=given)
