"""``Scheduler``: what it sets, where, and that only the step decides about it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchopt_notes import schedules as S

from .common import KINDS, make, numbers, parameters, read, sgd, train, trajectory
from .trees import build, trees

PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, database=None)
SCHEDULE = S.warmup(5) >> S.cosine(20, end=0.1)
ON_EVERY_KIND = pytest.mark.parametrize("kind", KINDS)

DRIVEN = [
    (kind, name)
    for kind in KINDS
    for name in (
        ["lr", "weight_decay", "momentum", "dampening"]
        if "SGD" in kind
        else ["lr", "weight_decay", "betas[0]", "betas[1]", "eps"]
    )
]


@pytest.mark.parametrize(("kind", "name"), DRIVEN)
def test_a_hyperparameter_is_its_base_value_times_the_schedule(kind, name):
    optimizer = make(kind, **({"dampening": 0.4} if name == "dampening" else {}))
    (before,) = numbers(optimizer)
    base = read(optimizer.param_groups[0], name)
    scheduler = S.Scheduler(optimizer, {name: SCHEDULE})
    for step in range(30):
        assert scheduler.last_epoch == step
        (now,) = numbers(optimizer)
        assert read(now, name) == base * SCHEDULE(step)
        assert type(read(now, name)) is float
        assert now[f"initial_{name}"] == base
        assert scheduler.get_last_lr() == scheduler.get_lr() == [now["lr"]]
        key = name.partition("[")[0]
        assert {k: v for k, v in now.items() if k != key and not k.startswith("initial")} == {
            k: v for k, v in before.items() if k != key
        }
        train(optimizer)
        scheduler.step()
    assert type(optimizer.param_groups[0].get("betas", ())) is tuple


def test_several_at_once():
    optimizer = make("AdamW")
    schedules = {
        "lr": SCHEDULE,
        "weight_decay": S.linear(10),
        "betas[0]": S.constant(0.5),
        "betas[1]": S.exponential(0.9),
    }
    betas = {name: schedules.pop(name) for name in ("betas[0]", "betas[1]")}
    scheduler = S.Scheduler(optimizer, betas, **schedules)
    assert scheduler.schedules == {**betas, **schedules}
    for step in range(15):
        (group,) = optimizer.param_groups
        assert group["lr"] == 0.3 * SCHEDULE(step)
        assert group["weight_decay"] == 0.2 * S.linear(10)(step)
        assert group["betas"] == (0.9 * 0.5, 0.99 * 0.9**step)
        train(optimizer)
        scheduler.step()


def test_one_schedule_per_group_and_none_for_those_to_leave_alone():
    optimizer = sgd(3)
    optimizer.param_groups[1]["lr"] = 7.0
    first, third = S.linear(10), S.cosine(10)
    scheduler = S.Scheduler(optimizer, lr=[first, None, third], momentum=[None, S.constant(0.5), None])
    for step in range(12):
        lrs = [group["lr"] for group in optimizer.param_groups]
        assert lrs == [0.3 * first(step), 7.0, 0.3 * 3 * third(step)]
        assert scheduler.get_last_lr() == scheduler.get_lr() == lrs
        assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.45, 0.9]
        optimizer.step()
        scheduler.step()
    optimizer.param_groups[1]["lr"] = 5.0
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 5.0, 0.0]


def test_any_callable_is_called_with_the_step_as_an_int():
    seen = []

    def function(step):
        seen.append(step)
        return 1 / (step + 1)

    scheduler = S.Scheduler(sgd(2), lr=function)
    assert trajectory(scheduler, 5) == [0.3 * (1 / (step + 1)) for step in range(6)]
    assert seen == [0, 1, 2, 3, 4, 5]
    assert all(type(step) is int for step in seen)


@pytest.mark.parametrize(
    "function", [lambda t: np.cos(t / 10), lambda t: np.float32(0.5), lambda t: torch.tensor(0.5), lambda t: 1]
)
def test_what_a_callable_returns_becomes_a_number_of_pythons(function):
    optimizer = sgd()
    S.Scheduler(optimizer, lr=function).seek(3)
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert optimizer.param_groups[0]["lr"] == 0.3 * float(function(3))


@PROPERTY
@given(trees, trees, st.integers(0, 60), st.integers(0, 60))
def test_seek_is_as_many_steps(first, second, start, step):
    schedules = {"lr": [build(first), None, build(second)], "weight_decay": build(second)}
    stepped, sought = S.Scheduler(sgd(3), schedules), S.Scheduler(sgd(3), schedules)
    for _ in range(step):
        stepped.optimizer.step()
        stepped.step()
    sought.seek(start)
    sought.seek(step)
    for _ in range(3):
        assert numbers(sought.optimizer) == numbers(stepped.optimizer)
        assert sought.state_dict() == stepped.state_dict()
        assert sought._step_count == stepped._step_count
        assert sought.last_epoch == stepped.last_epoch
        assert sought.get_last_lr() == stepped.get_last_lr()
        for one in (stepped, sought):
            one.optimizer.step()
            one.step()


def test_seeking_elsewhere_is_something_else():
    one, other = S.Scheduler(sgd(), lr=SCHEDULE), S.Scheduler(sgd(), lr=SCHEDULE)
    one.seek(10)
    other.seek(11)
    assert numbers(one.optimizer) != numbers(other.optimizer)
    assert one.state_dict() != other.state_dict()


def test_seeking_costs_one_call():
    calls = []
    scheduler = S.Scheduler(sgd(), lr=lambda step: calls.append(step) or 1.0)
    scheduler.seek(10**9)
    assert calls == [0, 10**9]


def test_what_was_set_by_hand_is_overwritten_and_nothing_drifts():
    scheduler = S.Scheduler(sgd(), lr=SCHEDULE, momentum=S.linear(30))
    (group,) = scheduler.optimizer.param_groups
    for step in range(25):
        assert (group["lr"], group["momentum"]) == (0.3 * SCHEDULE(step), 0.9 * S.linear(30)(step))
        group["lr"], group["momentum"] = 77.0, 0.123
        scheduler.optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("kind", ["torch.AdamW", "AdamW"])
def test_a_tensor_is_filled_where_it_is(kind, shape):
    lr = torch.full(shape, 0.25)
    optimizer = make(kind, lr=lr, **({"foreach": False} if "torch" in kind else {}))
    (group,) = optimizer.param_groups
    scheduler = S.Scheduler(optimizer, lr=SCHEDULE)
    for step in range(30):
        assert group["lr"] is lr
        assert len({id(lr), id(group["initial_lr"]), id(scheduler.base_values["lr"][0])}) == 3
        assert torch.equal(lr, torch.full(shape, 0.25) * SCHEDULE(step))
        assert (
            group["initial_lr"].item() == scheduler.base_values["lr"][0].item() == scheduler.base_lrs[0].item() == 0.25
        )
        (last,) = scheduler.get_last_lr()
        assert torch.equal(last, lr)
        last.fill_(99.0)
        assert lr.max() < 1, "what is returned is a copy"
        train(optimizer)
        scheduler.step()


def test_tensors_in_a_tuple_are_filled_where_they_are():
    betas = torch.tensor(0.5), torch.tensor(0.75)
    optimizer = make("torch.AdamW", lr=torch.tensor(0.25), betas=betas, foreach=False)
    scheduler = S.Scheduler(optimizer, {"betas[1]": S.linear(8)})
    scheduler.seek(2)
    assert all(one is other for one, other in zip(optimizer.param_groups[0]["betas"], betas, strict=True))
    assert [one.item() for one in betas] == [0.5, 0.75 * 0.75]


def test_a_tensor_of_float64_holds_the_value_of_a_float():
    optimizer = make("torch.AdamW", lr=torch.tensor(0.3, dtype=torch.float64), foreach=False)
    assert trajectory(S.Scheduler(optimizer, lr=SCHEDULE), 30) == [0.3 * SCHEDULE(step) for step in range(31)]


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_an_optimizer_of_ours_is_driven_as_torchs(name):
    schedules = {"lr": SCHEDULE, "weight_decay": S.linear(8) >> S.linear(12, 0, 1)}
    schedules["momentum" if name == "SGD" else "betas[0]"] = S.cyclic(5, start=0.7)

    def trained(kind, **driven):
        optimizer = make(kind)
        scheduler = S.Scheduler(optimizer, driven)
        for _ in range(25):
            train(optimizer)
            scheduler.step()
        return parameters(optimizer)

    ours, theirs = trained(name, **schedules), trained(f"torch.{name}", **schedules)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for left_out in schedules:
        others = {key: value for key, value in schedules.items() if key != left_out}
        assert not torch.allclose(trained(name, **others), ours, rtol=1e-4, atol=1e-5), f"control: {left_out} acts"


def test_a_second_scheduler_of_the_same_optimizer_has_the_same_base_values():
    optimizer = sgd(2)
    S.Scheduler(optimizer, lr=S.constant(0.1), momentum=S.constant(0.5))
    again = S.Scheduler(optimizer, lr=S.linear(10), momentum=S.constant())
    assert again.base_values == {"lr": [0.3, 0.6], "momentum": [0.9, 0.9]}
    assert again.base_lrs == [0.3, 0.6]
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.3, 0.9), (0.6, 0.9)]


def test_schedulers_of_different_hyperparameters_do_not_disturb_each_other():
    optimizer = sgd()
    first, second = S.Scheduler(optimizer, lr=SCHEDULE), S.Scheduler(optimizer, momentum=S.linear(10))
    for step in range(12):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["momentum"]) == (0.3 * SCHEDULE(step), 0.9 * S.linear(10)(step))
        assert first.get_last_lr() == second.get_last_lr() == second.get_lr() == [group["lr"]]
        optimizer.step()
        first.step()
        second.step()


def test_a_group_that_is_added_later_is_driven_from_its_own_base_values():
    optimizer = sgd()
    scheduler = S.Scheduler(optimizer, lr=S.linear(10), weight_decay=S.linear(20))
    scheduler.seek(3)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.8})
    assert scheduler.get_lr() == [0.3 * S.linear(10)(3), 0.8 * S.linear(10)(3)]
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.3 * S.linear(10)(4), 0.8 * S.linear(10)(4)]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2 * S.linear(20)(4)] * 2
    assert scheduler.base_values == {"lr": [0.3, 0.8], "weight_decay": [0.2, 0.2]}
    assert scheduler.base_lrs == [0.3, 0.8]
    assert optimizer.param_groups[1]["initial_lr"] == 0.8
    assert len(scheduler.get_last_lr()) == 2


def test_what_it_prints_names_schedules_and_step():
    scheduler = S.Scheduler(sgd(), lr=SCHEDULE, momentum=[S.linear(4)])
    scheduler.seek(7)
    assert repr(scheduler) == f"Scheduler(lr={SCHEDULE!r}, momentum=[linear(4)]; step 7)"


def test_zero_steps_of_a_warm_up_are_none():
    assert trajectory(S.Scheduler(sgd(), lr=S.warmup(0) >> S.linear(4)), 4) == [0.3, 0.3 * 0.75, 0.15, 0.3 * 0.25, 0.0]
    assert math.isclose(0.3, trajectory(S.Scheduler(sgd(), lr=S.warmup(1) >> S.linear(4)), 1)[1])
