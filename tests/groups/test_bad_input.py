"""What cannot be meant is refused, with what was given, what is allowed and what to do."""

import math

import pytest
import torch
from torch import nn

from torchopt_notes.groups import param_groups

from .models import GPT


def frozen():
    model = GPT(1)
    model.ln_f.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (nn.Linear(1, 1).parameters(), TypeError, "must be a torch.nn.Module, got generator; pass the model itself"),
        (nn.Linear, TypeError, "must be a torch.nn.Module, got type"),
        (nn.ReLU(), ValueError, "ReLU has nothing to train: no parameters"),
        (
            nn.Linear(1, 1).requires_grad_(False),
            ValueError,
            "nothing to train: all its parameters are frozen; unfreeze",
        ),
        (nn.Sequential(nn.Linear(1, 1), nn.LazyLinear(2)), ValueError, "'1.weight' of a lazy module has no shape yet"),
        (nn.Sequential(nn.Conv1d(1, 1, 1), nn.LazyBatchNorm1d()), ValueError, "'1.weight' of a lazy module"),
    ],
)
def test_models(model, error, message):
    with pytest.raises(error, match=message):
        param_groups(model)


def test_a_lazy_model_after_its_first_batch():
    model = nn.LazyLinear(2)
    model(torch.ones(1, 3))
    assert len(param_groups(model, weight_decay=0.1)) == 2


@pytest.mark.parametrize("argument", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", [0.1]])
@pytest.mark.parametrize("overridden", [False, True])
def test_numbers_out_of_range(argument, value, overridden):
    given = {argument: value}
    with pytest.raises(ValueError, match=f"param_groups.*{argument} must be a finite number >= 0"):
        param_groups(GPT(1), **({"overrides": {"h": given}} if overridden else given))


def test_a_tensor_as_learning_rate():
    with pytest.raises(TypeError, match=r"lr must be a number, got a Tensor.*pass the tensor to the optimizer"):
        param_groups(GPT(1), lr=torch.tensor(0.1))


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ([("h", {})], TypeError, "overrides must be a dict of patterns and their options, got list"),
        ({"h": 0.1}, TypeError, r"overrides\['h'\] must be a dict of group options such as .*, got float"),
        ({"h": {"params": []}}, ValueError, r"overrides\['h'\] holds 'params'"),
        ({"h": {"param_names": []}}, ValueError, r"overrides\['h'\] holds 'param_names'"),
        ({3: {"lr": 0.1}}, TypeError, "a pattern in overrides must be a string, got int"),
        ({"lm_haed.*": {"lr": 0.1}}, ValueError, "'lm_haed.*' matches no parameter; did you mean 'lm_head"),
        (
            {"ln_f": {"lr": 0.1}},
            ValueError,
            "'ln_f' matches only frozen parameters .*, such as 'ln_f.weight'; unfreeze",
        ),
        (
            {"h": {"lr": 0.1}, "*.in_proj_bias": {"betas": (0.1, 0.2)}},
            ValueError,
            r"'h.0.attn.in_proj_bias' is matched by two overrides, 'h' and '\*.in_proj_bias'; narrow one",
        ),
        (
            {"lm_head": {"lr": 0.1}, "wte": {"lr": 0.1}},
            ValueError,
            r"'wte.weight' \(tied with 'lm_head.weight'\) is matched by two overrides, 'lm_head' and 'wte'",
        ),
    ],
    ids=lambda value: "" if isinstance(value, type) else None,
)
def test_overrides(overrides, error, message):
    with pytest.raises(error, match=message):
        param_groups(frozen(), overrides=overrides)
