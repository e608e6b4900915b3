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


def test_names_of_parameters_are_no_options():
    """torch puts a list of them into the groups of named parameters."""
    module = torch.nn.Linear(2, 2)
    optimizer = AdamW([{"params": [pair]} for pair in module.named_parameters()])
    options = GroupOptions(optimizer.param_groups)
    assert optimizer.param_groups[0]["param_names"] == ["weight"]
    assert options.lasting
    assert options.hold(optimizer.param_groups)
    assert options.alike == [0, 0]


def test_options_are_alike_in_any_order():
    turned = dict(reversed(_group().items()))
    assert GroupOptions([_group(), turned, _group(eps=1e-7), _group(betas=[0.9, 0.999]), _group()]).alike == [
        0,
        0,
        1,
        2,
        0,
    ]


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
        groups = [{"params": [p], "betas": betas} for p in params]
        optimizer = AdamW(groups, lr=0.1, backend=backend) if backend else torch.optim.AdamW(groups, lr=0.1)
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

    assert_close(run(backend), run(None))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "change",
    [
        lambda groups: groups[1]["params"].insert(0, groups[0]["params"].pop()),
        lambda groups: groups.reverse(),
        lambda groups: groups.pop(0),
    ],
    ids=["a parameter changes sides", "groups in another order", "a group less"],
)
def test_who_belongs_to_which_group_may_change(change, backend):
    """The parameters may stay in the same order, and the options where they are."""

    def run(optimizer_class, **backend):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(5)) for _ in range(4)]
        groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.01, "maximize": True}]
        optimizer = optimizer_class(groups, lr=0.1, **backend)
        for step in range(4):
            for param in params:
                param.grad = torch.randn(5)
            if step == 2:
                change(optimizer.param_groups)
            optimizer.step()
        return params

    assert_close(run(AdamW, backend=backend), run(torch.optim.AdamW))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_group_that_comes_later(backend):
    def run(optimizer_class, **backend):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(5)) for _ in range(3)]
        optimizer = optimizer_class([params[0]], lr=0.1, **backend)
        for step in range(4):
            if step in (1, 2):
                optimizer.add_param_group({"params": [params[step]], "lr": 0.1 * step})
            for param in params:
                param.grad = torch.randn(5)
            optimizer.step()
        return params

    assert_close(run(AdamW, backend=backend), run(torch.optim.AdamW))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "options", "change"),
    [
        ("lars", {"lr": 0.1, "exempt_1d": False}, {"exempt_1d": True}),
        ("lamb", {"lr": 0.1, "exempt_1d": True}, {"exempt_1d": False}),
        ("adafactor", {"eps": (0.5, 1e-3)}, {"eps": (None, 1e-3)}),
    ],
)
def test_options_that_act_by_shape_may_change(name, options, change, backend):
    """What they change is not the code of the group, but of some of its parameters."""

    def run(*, changed_at, backend="eager"):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 5), (6,))]
        optimizer = create_optimizer(name, params, backend=backend, **options)
        for step in range(4):
            for param in params:
                param.grad = torch.randn_like(param)
                param.grad[0] = 0
            if step == changed_at:
                optimizer.param_groups[0].update(change)
                # A new optimizer knows nothing of before.
                if backend == "eager":
                    saved = optimizer.state_dict()
                    optimizer = create_optimizer(name, params, backend=backend, **(options | change))
                    optimizer.load_state_dict(saved)
            optimizer.step()
        return params

    expected = run(changed_at=2)
    assert_close(run(changed_at=2, backend=backend), expected)
    if backend == "eager":
        unchanged = run(changed_at=9)
        assert not all(map(torch.equal, expected, unchanged))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "value"), [("weight_decay", "0.2"), ("betas", ("0.9", 0.999))])
def test_an_option_that_cannot_be_used_is_refused_at_every_step(name, value, backend):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([param], lr=0.1, weight_decay=0.1, backend=backend)
    param.grad = torch.ones(3)
    optimizer.step()
    optimizer.param_groups[0][name] = value
    before = param.detach().clone()
    for _ in range(2):
        with pytest.raises(TypeError):
            optimizer.step()
        assert torch.equal(param, before)


@pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))
def test_groups_that_agree_share_a_row():
    """One row at a time is worked out for all of them; one each where they differ."""
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(5)]
    optimizer = AdamW([{"params": [(str(i), p)]} for i, p in enumerate(params)], backend="compiled")
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
