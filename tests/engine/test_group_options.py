"""Options of parameter groups: a change is noticed however it is made, and groups that agree share their numbers."""

import math
from unittest import mock

import pytest
import torch

from tests.backends import BACKENDS, MISSING
from tests.engine.test_contract import assert_close
from torchopt_notes import AdamW, create_optimizer, list_optimizers
from torchopt_notes.engine import compiled
from torchopt_notes.engine.group_options import GroupOptions, Sharing

CHANGES = {
    "another value": lambda group: group.update(weight_decay=0.2),
    "a new option": lambda group: group.update(max_grad_value=1.0),
    "an option taken away": lambda group: group.pop("eps"),
    "another option in its place": lambda group: group.update(note=group.pop("eps")),
    "the same value anew": lambda group: group.update(eps=float("1e-8")),
}


def _group(**options):
    return {
        "params": [],
        "lr": 0.1,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.1,
        "maximize": False,
    } | options


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change):
    groups = [_group(), _group()]
    options = GroupOptions(groups)
    groups[1].update(lr=0.2, params=[1])
    assert options.hold(groups)
    CHANGES[change](groups[1])
    assert not options.hold(groups)


@pytest.mark.parametrize("value", [[0.9, 0.999], torch.tensor(0.9), (torch.tensor(0.9), 0.999)])
def test_what_may_change_inside_never_holds(value):
    groups = [_group(betas=value)]
    options = GroupOptions(groups)
    assert not options.lasting
    assert not options.hold(groups)


def test_another_number_of_groups():
    assert not GroupOptions([_group()]).hold([_group(), _group()])


def test_groups_only_part():
    groups = [_group(), _group(lr=0.1), _group(weight_decay=0.0), _group()]
    sharing = Sharing([0, 1, 2, 3])
    assert sharing.of([0, 1, 2]) == [0, 0, 0]  # nothing is known before the first look
    for changes, expected in (({}, [0, 0, 1, 0]), ({3: 0.3}, [0, 0, 1, 2]), ({3: 0.1}, [0, 0, 1, 2])):
        for index, lr in changes.items():
            groups[index]["lr"] = lr
        version = sharing.version
        sharing.refresh(GroupOptions(groups), groups)
        assert sharing.of([0, 1, 2, 3]) == expected
        assert (sharing.version != version) == (expected != [0, 0, 1, 2] or changes == {3: 0.3})


def test_tensors_are_told_apart_by_identity():
    lr = torch.tensor(0.1)
    groups = [_group(lr=lr), _group(lr=lr), _group(lr=lr.clone())]
    sharing = Sharing([0, 1, 2])
    sharing.refresh(GroupOptions(groups), groups)
    assert sharing.of([0, 1, 2]) == [0, 0, 1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lasting", [True, False])
def test_groups_that_agree_and_part_again(backend, lasting):
    """Every group follows its own options, at each step, whoever shared a row before."""

    def run(backend):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(5)) for _ in range(4)]
        betas = (0.9, 0.99) if lasting else [0.9, 0.99]
        optimizer = AdamW([{"params": [p], "betas": betas} for p in params], lr=0.1, backend=backend)
        for step in range(6):
            for param in params:
                param.grad = torch.randn(5)
            groups = optimizer.param_groups
            if step == 2:
                groups[1]["lr"] = 0.03
            if step == 3:
                groups[2]["weight_decay"] = 0.5
            if step == 4:
                groups[1]["lr"] = 0.1
                params[3].grad = None
            if step == 5:
                groups[0]["betas"] = (0.5, 0.9)
            optimizer.step()
        return params

    assert_close(run(backend), run("eager"))


@pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))
def test_groups_that_agree_share_a_row():
    """One row at a time is worked out for all of them; one each where they differ."""
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(5)]
    optimizer = AdamW([{"params": [p]} for p in params], backend="compiled")
    for param in params:
        param.grad = torch.ones(3)
    for rates, expected in (([1e-3] * 5, 1), ([1e-3, 1e-3, 1e-4, 1e-4, 1e-5], 3)):
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        with mock.patch.object(compiled, "row", wraps=compiled.row) as row:
            optimizer.step()
        assert row.call_count == expected


@pytest.mark.parametrize("name", list_optimizers())
def test_no_code_depends_on_lr(name):
    """``GroupOptions`` leaves it out."""
    optimizer = create_optimizer(name, [torch.nn.Parameter(torch.ones(3))], lr=0.5)
    (group,) = optimizer.param_groups
    before = optimizer.variant(group)
    for lr in (0.0, 123.0, math.pi):
        group["lr"] = lr
        assert optimizer.variant(group) == before
