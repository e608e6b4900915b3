"""The range test: what it finds."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.schedules.range_testing import Weight
from torchopt_notes.schedules import RangeTest, lr_range_test


def quadratic(curvature, optimizer=torch.optim.SGD, **options):
    """A range test of ``curvature / 2 · w²``."""
    model = Weight()
    return lr_range_test(
        model, lambda w, _: curvature / 2 * w**2, [(0, 0)], optimizer(model.parameters(), lr=1.0), **options
    )


def scripted(losses, **options):
    """A range test which sees these losses, whatever it does."""
    model = Weight()
    coming = iter(losses)
    return lr_range_test(
        model,
        lambda w, _: 0 * w + next(coming),
        [(0, 0)],
        torch.optim.SGD(model.parameters(), lr=1.0),
        **{"steps": len(losses)} | options,
    )


# What it finds


@pytest.mark.parametrize("curvature", [0.25, 3.0, 500.0])
def test_on_a_quadratic_the_loss_grows_above_two_over_the_curvature_and_not_below(curvature):
    found = quadratic(curvature, start=1e-4, end=100.0, steps=150, smoothing=0.0)
    after = list(zip(found.lrs, found.losses, found.losses[1:], strict=False))
    falling = [lr for lr, before, then in after if then < before]
    rising = [lr for lr, before, then in after if then > before]
    assert max(falling) < 2 / curvature < min(rising)
    assert found.diverged


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("curvature", [0.25, 3.0, 500.0])
def test_the_suggestion_on_a_quadratic_is_stable_and_not_timid(curvature, smoothing):
    found = quadratic(curvature, smoothing=smoothing, end=100.0)
    assert 0.01 / curvature < found.suggestion < 2 / curvature < found.lrs[-1]


def test_the_suggestion_scales_with_the_problem():
    ratio = quadratic(1.0, end=100.0).suggestion / quadratic(100.0, end=100.0).suggestion
    assert ratio == pytest.approx(100, rel=0.3)  # a step of the test is a factor of 1.2


def test_a_regression_diverges_above_two_over_the_largest_curvature():
    x = torch.randn(64, 5, dtype=torch.float64) * torch.tensor([0.1, 0.3, 1.0, 2.0, 4.0])
    y = x @ torch.randn(5, 1, dtype=torch.float64) + 0.1
    model = nn.Linear(5, 1, dtype=torch.float64)
    ones = torch.cat([x, torch.ones(64, 1)], dim=1)
    stable = 2 / torch.linalg.eigvalsh(2 / 64 * ones.mT @ ones)[-1].item()
    found = lr_range_test(
        model, nn.functional.mse_loss, [(x, y)], torch.optim.SGD(model.parameters(), lr=1.0), steps=200
    )
    assert found.diverged
    assert stable < found.lrs[-1] < 10 * stable
    assert 0.01 * stable < found.suggestion < stable


def test_climbing_finds_nothing():
    found = quadratic(1.0, lambda params, lr: torch.optim.SGD(params, lr, maximize=True), end=0.1)
    assert found.suggestion is None
    assert quadratic(1.0, end=0.1).suggestion is not None  # a control


def test_rates_grow_exponentially_from_start_to_end():
    seen = []
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.register_step_pre_hook(lambda opt, *_: seen.append(opt.param_groups[0]["lr"]))
    found = lr_range_test(model, lambda w, _: w**2, [(0, 0)], optimizer, start=1e-3, end=0.3, steps=7)
    assert list(found.lrs) == seen
    assert (seen[0], seen[-1], len(seen)) == (1e-3, 0.3, 7)
    ratios = [after / before for before, after in itertools.pairwise(seen)]
    assert ratios == pytest.approx([300 ** (1 / 6)] * 6, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98])
def test_smoothed_losses_are_weighted_means(smoothing):
    losses = [random.Random(0).uniform(1, 2) + math.sin(i) / 3 for i in range(30)]
    found = scripted(losses, smoothing=smoothing)
    assert list(found.losses) == losses
    for i, value in enumerate(found.smoothed):
        weights = [smoothing ** (i - j) for j in range(i + 1)]
        assert value == pytest.approx(np.average(losses[: i + 1], weights=weights), rel=1e-12)
    assert (list(found.smoothed) == pytest.approx(losses)) == (smoothing == 0)


@pytest.mark.parametrize(
    ("losses", "options", "ending"),
    [
        ([1, 0.5, 2.0, 0.1], {}, 0.41),  # 4 times the lowest is allowed, more is not
        ([1, 0.5], {}, 2.01),
        ([1, 0.5, 2.01, 9.0], {"stop_at": 18.1}, 9.1),
        ([1, 2, 3, 4], {}, 5),
        ([1, 2, 3, 4], {}, math.nan),
        ([1, 2, 3, 4], {}, math.inf),
        ([1, 0.5, 2.01, 1e30], {"stop_at": math.inf}, math.nan),
        ([1, 0.5, 2.01, 1e30], {"stop_at": math.inf}, math.inf),
        ([-1, -4, -8, 0, 16], {}, 16.1),  # below zero, a rise by 3 times the depth
        ([0, 0, 0], {}, 1e-9),
    ],
)
def test_where_it_stops(losses, options, ending):
    goes_on = scripted([*losses, losses[-1]], smoothing=0.0, **options)
    assert (len(goes_on.losses), goes_on.diverged) == (len(losses) + 1, False)
    found = scripted([*losses, ending, losses[-1]], smoothing=0.0, **options)
    assert (len(found.losses), found.diverged) == (len(losses) + 1, True)
    assert len(found.lrs) == len(found.smoothed) == len(found.losses)


def test_it_is_the_smoothed_loss_that_stops():
    losses = [1.0] * 10 + [6.0] + [1.0] * 9
    assert not scripted(losses).diverged
    assert scripted(losses, smoothing=0.0).diverged


LRS = tuple(10.0 ** (i / 10 - 7) for i in range(60))


def curve(falls, start=10.0):
    """60 losses: level, but for these changes."""
    return tuple(start + sum(change for at, change in falls.items() if at < i) for i in range(60))


def suggestion(losses, **options):
    return RangeTest(LRS[: len(losses)], losses, losses, **options).suggestion


def test_the_suggestion_is_the_step_after_which_the_loss_falls_most():
    assert suggestion(curve({20: -1, 30: -3, 40: -2})) == LRS[30]
    assert suggestion(curve({20: -1, 30: -1.5, 40: -2})) == LRS[40]


def test_slopes_are_over_the_logarithm():
    lrs = (*LRS[:31], *[10 * lr for lr in LRS[31:]])
    losses = curve({20: -2, 30: -3})
    assert RangeTest(lrs, losses, losses).suggestion == lrs[20]
    assert suggestion(losses) == LRS[30]


def test_the_first_and_the_last_points_do_not_count():
    assert suggestion(curve({5: -5, 20: -1})) == LRS[20]
    assert suggestion(curve({6: -5, 20: -1})) == LRS[6]
    assert suggestion(curve({20: -1, 56: -5})) == LRS[20]
    assert suggestion(curve({20: -1, 55: -5})) == LRS[55]


def test_a_fall_after_the_explosion_does_not_count():
    assert suggestion(curve({20: -1, 40: +9, 45: -9})) == LRS[20]
    assert suggestion(curve({20: -1, 40: +9, 45: -9.1})) == LRS[45]  # to where it never was before


@pytest.mark.parametrize("falls", [{}, {30: +1}, {30: +1, 40: -0.5}, {3: -1}, {58: -1}])
def test_no_suggestion_where_the_loss_never_fell(falls):
    assert suggestion(curve(falls)) is None


@pytest.mark.parametrize("points", range(12))
def test_no_suggestion_from_a_few_points(points):
    losses = tuple(float(-i) for i in range(points))
    assert (suggestion(losses) is None) == (points < 10)
    ended = (*losses, math.nan)
    assert (suggestion(ended, diverged=True) is None) == (points + 1 < 10)


def test_the_loss_that_ended_the_test_does_not_count():
    losses = (*curve({5: -1})[:14], -math.inf)
    assert suggestion(losses, diverged=True) == LRS[5]
    assert suggestion(losses) == LRS[13]


def test_it_prints_in_one_line():
    found = quadratic(1.0, end=100.0)
    assert repr(found).startswith(f"RangeTest({len(found.lrs)} steps, lr 1e-07 to ")
    assert ", diverged, suggestion 0." in repr(found)
    assert len(repr(found)) < 100
    assert repr(RangeTest((), (), ())) == "RangeTest(0 steps, no lr, suggestion None)"
    assert found == quadratic(1.0, end=100.0) != quadratic(2.0, end=100.0)


# Groups
