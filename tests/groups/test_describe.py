"""The table: what it shows, for whom, and what it leaves as it was."""

import pytest
import torch
from torch import nn

import torchopt_notes
from torchopt_notes.groups import describe_groups, param_groups


def model():
    return nn.Sequential(nn.Linear(1000, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def rows(table):
    return [line.split() for line in table.splitlines()]


def test_a_list_of_groups():
    groups = param_groups(model(), weight_decay=0.05, overrides={"2.weight": {"lr": 3e-4}})
    assert describe_groups(groups) == (
        "group  tensors  elements      lr  weight_decay  names\n"
        "    0        1     4,000       -          0.05  0.weight\n"
        "    1        4        14       -             0  0.bias, 1.weight, …\n"
        "    2        1         8  0.0003          0.05  2.weight\n"
        "  all        6     4,022"
    )


@pytest.mark.parametrize("cls", [torch.optim.AdamW, torchopt_notes.AdamW])
def test_an_optimizer(cls):
    optimizer = cls(param_groups(model(), weight_decay=0.05, overrides={"2": {"betas": (0.5, 0.75)}}), lr=1e-3)
    table = rows(describe_groups(optimizer))
    assert table[0] == ["group", "tensors", "elements", "lr", "weight_decay", "betas", "names"]
    assert table[1] == ["0", "1", "4,000", "0.001", "0.05", "(0.9,", "0.999)", "0.weight"]
    assert table[3] == ["2", "1", "8", "0.001", "0.05", "(0.5,", "0.75)", "2.weight"]
    assert table[-1] == ["all", "6", "4,022"]


def test_what_is_equal_everywhere_is_left_out():
    table = describe_groups(torch.optim.AdamW(model().parameters()))
    assert "betas" not in table
    assert len(table.splitlines()) == 2


def test_without_names():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [{"params": first.parameters(), "lr": torch.tensor(0.5)}, {"params": second.weight, "lr": 1}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    assert rows(describe_groups(optimizer))[1] == ["0", "2", "6", "0.5", "0", "0.0,", "0.1"]
    assert rows(describe_groups([{"params": second.weight}])) == [
        ["group", "tensors", "elements", "names"],
        ["0", "1", "4", "0.0"],
    ]


def test_without_weight_decay_there_is_no_such_column():
    assert "weight_decay" not in describe_groups(torch.optim.Rprop(model().parameters()))


def test_an_optimizer_leaves_the_list_describable():
    """torch keeps the dicts that it is given, and changes them."""
    groups = param_groups(model(), lr=0.1, weight_decay=0.05)
    before = describe_groups(groups)
    torch.optim.SGD(groups, lr=0.2)
    assert describe_groups(groups) == before


@pytest.mark.parametrize("given", [3, "groups", None, [torch.ones(1)], [{"lr": 0.1}], model().parameters()])
def test_what_has_no_groups(given):
    with pytest.raises(TypeError, match="takes an optimizer or a list of parameter groups"):
        describe_groups(given)


def test_an_iterator_is_not_used_up():
    groups = [{"params": model().parameters()}]
    with pytest.raises(TypeError, match="params of group 0 must be a list, got generator"):
        describe_groups(groups)
    assert len(list(groups[0]["params"])) == 6
