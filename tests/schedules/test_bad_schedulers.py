"""Schedulers and what watches a metric refuse what cannot be meant, and leave the optimizer's groups as they were."""

import math
import re

import pytest
import torch

from torchopt_notes import schedules as S

from .common import KINDS, make, numbers, sgd

LINE = S.linear(10)


def says(*words):
    return ".*".join(map(re.escape, words))


HAVE = {
    "torch.SGD": "they have lr, momentum, dampening, weight_decay",
    "torch.AdamW": "they have lr, betas[0], betas[1], eps, weight_decay",
    "SGD": "they have lr, momentum, dampening, weight_decay",
    "AdamW": "they have lr, betas[0], betas[1], eps, weight_decay",
}
DRIVERS = {
    "Scheduler": lambda optimizer, name: S.Scheduler(optimizer, {name: LINE}),
    "ReduceOnPlateau": lambda optimizer, name: S.ReduceOnPlateau(optimizer, name),
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hyperparameter_that_the_optimizer_does_not_have(kind, driver):
    optimizer = make(kind)
    before = numbers(optimizer)
    wrong = [
        "rho",
        "LR",
        "",
        "lr ",
        "lr[0]",
        "betas",
        "betas[2]",
        "betas[-1]",
        "betas[x]",
        "params",
        "params[0]",
        "foreach",
    ]
    for name in [*wrong, "nesterov", "amsgrad", "maximize"]:
        with pytest.raises(ValueError, match=says(f"{driver}: ", f"no number {name!r} to drive", HAVE[kind])):
            DRIVERS[driver](optimizer, name)
    for name in (3, None, ("lr",), b"lr"):
        with pytest.raises(TypeError, match=says(f"{driver}: the name of a hyperparameter must be a string, got")):
            DRIVERS[driver](optimizer, name if driver == "Scheduler" else [name])
    assert numbers(optimizer) == before


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_parameter_of_one_element_is_no_hyperparameter(driver):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match=says("no number 'params[0]' to drive", "they have lr, momentum")):
        DRIVERS[driver](optimizer, "params[0]")


def test_what_a_scheduler_keeps_is_not_listed_and_what_only_some_groups_have_neither():
    optimizer = sgd(2)
    S.Scheduler(optimizer, lr=LINE, momentum=LINE)
    torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.3)
    optimizer.param_groups[0]["mine"] = 1.0
    with pytest.raises(ValueError, match=r"they have lr, momentum, dampening, weight_decay$"):
        S.Scheduler(optimizer, mine=LINE)
    optimizer.param_groups[1]["mine"] = 2.0
    S.Scheduler(optimizer, mine=LINE).seek(5)
    assert [group["mine"] for group in optimizer.param_groups] == [0.5, 1.0]


class Refused:
    """An optimizer whose groups are what they were when something has been refused."""

    def __init__(self, groups=2):
        self.optimizer = sgd(groups)
        self.before = numbers(self.optimizer)

    def unchanged(self):
        return numbers(self.optimizer) == self.before


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "nothing to drive; pass a schedule, such as lr="),
        ({"schedules": {}}, ValueError, "nothing to drive"),
        ({"schedules": {"lr": LINE}, "lr": LINE}, ValueError, "lr was given twice, in `schedules` and by name"),
        (
            {"schedules": LINE},
            TypeError,
            "`schedules` must be a dict .*, got linear.10.; for the learning rate write lr=",
        ),
        ({"schedules": "lr"}, TypeError, "`schedules` must be a dict .*, got 'lr'"),
        ({"schedules": [LINE]}, TypeError, "`schedules` must be a dict .*, got .linear"),
        (
            {"lr": [LINE]},
            ValueError,
            "lr has 1 schedules; the optimizer has 2 groups, give one for each, or one for all",
        ),
        ({"lr": [LINE] * 3}, ValueError, "lr has 3 schedules; the optimizer has 2 groups"),
        ({"lr": []}, ValueError, "lr has 0 schedules; the optimizer has 2 groups"),
        ({"lr": [None, None]}, ValueError, "lr has no schedule for any group; leave it out"),
        ({"lr": None}, TypeError, "lr must be driven by a schedule or another callable, got None"),
        ({"lr": 0.5}, TypeError, r"another callable, got 0.5; .* use constant\(0.5\)"),
        ({"lr": [LINE, 0.5]}, TypeError, r"another callable, got 0.5; .* use constant\(0.5\)"),
        ({"lr": "cosine"}, TypeError, "another callable, got 'cosine'"),
        ({"momentum": {"a": LINE}}, TypeError, "momentum must be driven by a schedule or another callable, got {'a'"),
    ],
)
def test_arguments_of_a_scheduler(given, error, message):
    refused = Refused()
    with pytest.raises(error, match=f"Scheduler: .*{message}"):
        S.Scheduler(refused.optimizer, **given)
    assert refused.unchanged()


@pytest.mark.parametrize("wrong", [torch.nn.Linear(1, 1), None, [], torch.optim.SGD])
def test_what_is_no_optimizer(wrong):
    for make_one in (lambda: S.Scheduler(wrong, lr=LINE), lambda: S.ReduceOnPlateau(wrong)):
        with pytest.raises(TypeError, match=f"{type(wrong).__name__} is not an Optimizer"):
            make_one()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, "must be a finite number, got nan"),
        (math.inf, ValueError, "must be a finite number, got inf"),
        (torch.tensor(-math.inf), ValueError, "must be a finite number, got -inf"),
        (None, TypeError, "must be a number, got None"),
        ("0.5", TypeError, "must be a number, got '0.5'"),
        (True, TypeError, "must be a number, got True"),
        (1j, TypeError, "must be a number, got 1j"),
        ([0.5, 0.5], TypeError, "must be a number, got [0.5, 0.5]"),
    ],
)
def test_what_a_callable_returns(value, error, message):
    def good_until_3(step):
        return value if step == 3 else 0.5

    for given, where in (({"lr": good_until_3}, ""), ({"momentum": [None, good_until_3]}, " for param_groups[1]")):
        (name,) = given
        scheduler = S.Scheduler(sgd(2), {**given, "weight_decay": LINE})
        scheduler.seek(2)
        before = numbers(scheduler.optimizer), scheduler.state_dict(), scheduler.get_last_lr()
        told = says(f"Scheduler: what the schedule of {name}{where} gives at step 3 {message}")
        for call in (scheduler.step, lambda scheduler=scheduler: scheduler.seek(3)):
            with pytest.raises(error, match=told):
                call()
            assert (numbers(scheduler.optimizer), scheduler.state_dict(), scheduler.get_last_lr()) == before
        scheduler.seek(4)
        assert numbers(scheduler.optimizer) != before[0], "control"


def test_what_a_callable_returns_or_raises_at_once():
    for function, error in ((lambda step: math.nan, ValueError), (lambda step: 1 / step, ZeroDivisionError)):
        refused = Refused()
        with pytest.raises(error):
            S.Scheduler(refused.optimizer, momentum=LINE, lr=[LINE, function])
        assert refused.unchanged(), "also no base values, which the next scheduler would take"
    refused = Refused()
    with pytest.raises(TypeError, match=r"gives at step 0 must be a number, got cosine\(0\)"):
        S.Scheduler(refused.optimizer, lr=S.cosine)
    assert refused.unchanged()


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (-1, ValueError, "step must be >= 0, got -1"),
        (1.5, TypeError, "step must be a whole number, got 1.5"),
        (True, TypeError, "step must be a whole number, got True"),
        ("3", TypeError, "step must be a whole number, got '3'"),
        (None, TypeError, "step must be a whole number, got None"),
    ],
)
def test_steps_to_seek(step, error, message):
    scheduler = S.Scheduler(sgd(), lr=LINE)
    before = numbers(scheduler.optimizer), scheduler.state_dict()
    with pytest.raises(error, match=f"Scheduler.seek: {message}"):
        scheduler.seek(step)
    assert (numbers(scheduler.optimizer), scheduler.state_dict()) == before


def test_a_group_that_a_list_of_schedules_does_not_know_of():
    scheduler = S.Scheduler(sgd(), lr=[LINE])
    scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    before = numbers(scheduler.optimizer)
    scheduler.optimizer.step()
    with pytest.raises(ValueError, match="lr has 1 schedules, one per group, but the optimizer has 2 groups now"):
        scheduler.step()
    assert numbers(scheduler.optimizer) == before
    assert scheduler.last_epoch == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"hyperparameters": []}, ValueError, "nothing to reduce; name a hyperparameter, such as 'lr'"),
        ({"hyperparameters": ["lr", "momentum", "lr"]}, ValueError, "lr was given twice, and would be reduced twice"),
        ({"mode": "least"}, ValueError, "mode must be one of 'min', 'max', got 'least'"),
        ({"threshold_mode": "relative"}, ValueError, "threshold_mode must be one of 'rel', 'abs', got 'relative'"),
        ({"factor": 0}, ValueError, "factor must be > 0 and < 1, got 0"),
        ({"factor": 1.0}, ValueError, "factor must be > 0 and < 1, got 1.0"),
        ({"factor": "0.1"}, TypeError, "factor must be a number, got '0.1'"),
        ({"patience": -1}, ValueError, "patience must be a whole number >= 0, got -1"),
        ({"patience": True}, TypeError, "patience must be a number, got True"),
        ({"threshold": -1e-4}, ValueError, "threshold must be >= 0, got -0.0001"),
        ({"threshold": math.nan}, ValueError, "threshold must be a finite number, got nan"),
        ({"cooldown": -2}, ValueError, "cooldown must be a whole number >= 0, got -2"),
        ({"eps": -1}, ValueError, "eps must be >= 0, got -1"),
        ({"min": -0.1}, ValueError, "min must be >= 0, got -0.1"),
        ({"min": [0.1, -0.2]}, ValueError, "min must be >= 0, got -0.2"),
        ({"min": [0.1, None]}, TypeError, "min must be a number, got None"),
        ({"min": [0.1]}, ValueError, "min has 1 values; the optimizer has 2 groups, give one for each, or one for all"),
    ],
)
def test_arguments_of_reduce_on_plateau(given, error, message):
    refused = Refused()
    with pytest.raises(error, match=f"ReduceOnPlateau: {message}"):
        S.ReduceOnPlateau(refused.optimizer, **given)
    assert refused.unchanged()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"patience": 0}, ValueError, "patience must be a whole number >= 1, got 0"),
        ({"patience": -1}, ValueError, "patience must be a whole number >= 1, got -1"),
        ({"patience": 2.5}, ValueError, "patience must be a whole number >= 1, got 2.5"),
        ({"patience": "3"}, TypeError, "patience must be a number, got '3'"),
        ({"patience": True}, TypeError, "patience must be a number, got True"),
        ({"min_delta": -0.1}, ValueError, "min_delta must be >= 0, got -0.1"),
        ({"min_delta": math.inf}, ValueError, "min_delta must be a finite number, got inf"),
        ({"min_delta": None}, TypeError, "min_delta must be a number, got None"),
        ({"mode": "auto"}, ValueError, "mode must be one of 'min', 'max', got 'auto'"),
    ],
)
def test_arguments_of_early_stopping(given, error, message):
    with pytest.raises(error, match=f"EarlyStopping: {message}"):
        S.EarlyStopping(**given)
