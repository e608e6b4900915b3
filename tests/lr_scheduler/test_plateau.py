"""``ReduceLROnPlateau`` does what torch's does, whatever the metrics are."""

import copy
import itertools
import math
import random

import pytest
import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import OPTIMIZERS, driven

MODES = list(itertools.product(("min", "max"), ("rel", "abs")))
ATTRIBUTES = (
    "best",
    "num_bad_epochs",
    "cooldown_counter",
    "last_epoch",
    "min_lrs",
    "mode",
    "threshold",
    "eps",
    "factor",
    "patience",
    "cooldown",
    "threshold_mode",
    "mode_worse",
    "default_min_lr",
    "in_cooldown",
)


def metrics(seed, count=200):
    """Numbers that fall and rise, repeat themselves, and now and then are none."""
    numbers = random.Random(seed)
    value, found = numbers.uniform(-2, 2), []
    for _ in range(count):
        kind = numbers.random()
        if kind < 0.05:
            found.append(math.nan)
        elif kind < 0.08:
            found.append(numbers.choice([math.inf, -math.inf, 0.0]))
        else:
            if kind < 0.7:
                value += numbers.gauss(0, 0.1) * numbers.choice([1, 1e-4])
            found.append(value)
    return found


def options(seed):
    numbers = random.Random(seed)
    return {
        "factor": numbers.choice([0.1, 0.5, 0.99]),
        "patience": numbers.choice([0, 1, 3]),
        "threshold": numbers.choice([0.0, 1e-4, 0.05]),
        "cooldown": numbers.choice([0, 2, 5]),
        "min_lr": numbers.choice([0, 1e-3, [1e-3, 1e-2]]),
        "eps": numbers.choice([0.0, 1e-8, 1e-3]),
    }


def state_of(scheduler):
    return {name: getattr(scheduler, name) for name in ATTRIBUTES} | {"lr": driven(scheduler.optimizer)}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("mode", "threshold_mode"), MODES)
def test_random_metrics_lead_where_they_lead_with_torch(mode, threshold_mode, seed):
    chosen = options(seed) | {"mode": mode, "threshold_mode": threshold_mode}
    mine, theirs = (module.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), **chosen) for module in (ours, torchs))
    for metric in metrics(seed):
        assert state_of(mine) == state_of(theirs)
        assert mine.get_last_lr() == theirs.get_last_lr()
        mine.step(metric)
        theirs.step(metric)
    assert state_of(mine) == state_of(theirs)


def test_the_random_options_reduce_stop_and_wait():
    seen = {"reduced": 0, "at the minimum": 0, "waited": 0, "too small": 0}
    for seed in range(25):
        chosen = options(seed)
        scheduler = ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), **chosen)
        for metric in metrics(seed):
            before = scheduler.get_last_lr()[0]
            scheduler.step(metric)
            seen["reduced"] += scheduler.get_last_lr()[0] < before
            seen["waited"] += scheduler.in_cooldown
        seen["at the minimum"] += scheduler.get_last_lr()[0] == scheduler.min_lrs[0] > 0
        seen["too small"] += chosen["eps"] == 1e-3 and scheduler.get_last_lr()[0] > scheduler.min_lrs[0]
    assert all(seen.values()), seen


def test_another_patience_would_be_noticed():
    mine, theirs = (
        module.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), patience=patience)
        for module, patience in ((ours, 3), (torchs, 2))
    )
    for metric in metrics(0):
        mine.step(metric)
        theirs.step(metric)
    assert state_of(mine) != state_of(theirs)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_no_better_than_the_best(mode):
    scheduler = ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), mode, patience=1)
    scheduler.step(1.0)
    scheduler.step(math.nan)
    assert (scheduler.best, scheduler.num_bad_epochs) == (1.0, 1)
    scheduler.step(math.nan)
    assert scheduler.get_last_lr()[0] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "metric", [torch.tensor(0.5), torch.tensor([0.5]), torch.tensor(0.5, dtype=torch.float16), 1, True]
)
def test_whatever_is_a_number_for_torch_is_a_metric(metric):
    mine, theirs = (module.ReduceLROnPlateau(OPTIMIZERS["torch SGD"]()) for module in (ours, torchs))
    mine.step(metric)
    theirs.step(metric)
    assert mine.best == theirs.best == float(metric)


@pytest.mark.parametrize("metric", ["low", None, torch.zeros(2)])
def test_what_is_none_raises_as_with_torch_and_changes_nothing(metric):
    errors = []
    for module in (ours, torchs):
        scheduler = module.ReduceLROnPlateau(OPTIMIZERS["torch SGD"]())
        before = state_of(scheduler)
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            scheduler.step(metric)
        errors.append((type(caught.value), str(caught.value)))
        assert state_of(scheduler) == before
    assert errors[0] == errors[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("mode", "threshold_mode"), MODES)
def test_resumed_at_every_step_it_goes_on_as_if_nothing_had_happened(mode, threshold_mode, seed):
    chosen = options(seed) | {"mode": mode, "threshold_mode": threshold_mode}
    scheduler = ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), **chosen)
    for metric in metrics(seed, count=60):
        other = ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"]())
        other.load_state_dict(copy.deepcopy(scheduler.state_dict()))
        assert state_of(other) == state_of(scheduler)
        assert other.get_last_lr() == scheduler.get_last_lr()
        scheduler.step(metric)
        other.step(metric)
        assert state_of(other) == state_of(scheduler)


def test_a_state_of_torch_leaves_lr_to_the_optimizer_and_carries_none_of_ours_along():
    optimizer = OPTIMIZERS["torch SGD"]()
    theirs = torchs.ReduceLROnPlateau(optimizer, patience=0)
    theirs.load_state_dict(ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"](), patience=0).state_dict())
    for _ in range(3):
        theirs.step(1.0)
    lrs = driven(optimizer)
    other = OPTIMIZERS["torch SGD"]()
    mine = ours.ReduceLROnPlateau(other, patience=0)
    other.load_state_dict(optimizer.state_dict())
    mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert driven(other) == lrs
    assert state_of(mine) == state_of(theirs)
