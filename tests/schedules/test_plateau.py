"""``ReduceOnPlateau``: against a few lines that say the same, and against torch's for the learning rate."""

import copy
import io
import math

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from torchopt_notes import schedules as S

from .common import KINDS, make, numbers, read, sgd

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)

metrics = st.lists(
    st.sampled_from([0.0, 0.5, 0.9999, 1.0, 1.00005, 1.2, 2.0, math.inf]) | st.floats(-3, 3), min_size=1, max_size=40
)
options = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.1, 0.5, 0.9]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1, 0.6]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "eps": st.sampled_from([0.0, 1e-8, 0.05]),
    },
)
OFTEN = {"patience": 0, "factor": 0.5}


def expected(
    values,
    metrics,
    least,
    mode="min",
    factor=0.1,
    patience=10,
    threshold=1e-4,
    threshold_mode="rel",
    cooldown=0,
    eps=1e-8,
):
    """The values, of one hyperparameter in each group, after every metric."""
    best, bad, resting, rows = None, 0, 0, []
    for metric in metrics:
        loss = metric if mode == "min" else -metric
        share = threshold * (best or 0) * (1 if mode == "min" else -1)
        margin = share if threshold_mode == "rel" else threshold
        if (best is None and loss < math.inf) or (best is not None and loss < best - margin):
            best, bad = loss, 0
        else:
            bad += 1
        if resting:
            resting, bad = resting - 1, 0
        if bad > patience:
            resting, bad = cooldown, 0
            lower = [max(value * factor, low) for value, low in zip(values, least, strict=True)]
            values = [new if value - new > eps else value for value, new in zip(values, lower, strict=True)]
        rows.append(values)
    return rows


def rows(plateau, metrics, name="lr"):
    """The values in each group after every metric."""
    found = []
    for metric in metrics:
        plateau.step(metric)
        found.append([read(group, name) for group in plateau.optimizer.param_groups])
    return found


def same(one, other):
    return all(
        math.isclose(a, b, rel_tol=1e-12) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def rounded(metrics, threshold=1e-4, threshold_mode="rel", **_):
    """Whether a metric is so close to the margin around another that a rounding decides."""
    for one in metrics:
        for margin in (threshold, -threshold):
            edge = one * (1 + margin) if threshold_mode == "rel" else one + margin
            if any(other != one and math.isclose(other, edge, rel_tol=1e-12, abs_tol=1e-12) for other in metrics):
                return True
    return False


@PROPERTY
@given(metrics, options, st.sampled_from([0.0, 0.05, 0.2]))
@example([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], {"patience": 1, "cooldown": 2}, 0.0)
@example([2.0, 1.9, 1.0, 0.95, 0.5], {"patience": 0, "threshold": 0.1}, 0.0)
@example([1.0, 2.0, 3.0, 2.5, 2.5], {"patience": 0, "mode": "max", "threshold_mode": "abs"}, 0.0)
def test_every_reduction_is_where_the_rule_says(metrics, options, least):
    assume(not rounded(metrics, **options))
    base = [0.3, 0.6]
    plateau = S.ReduceOnPlateau(sgd(2), min=least, **options)
    assert same(rows(plateau, metrics), expected(base, metrics, [least] * 2, **options))


def test_another_rule_would_be_noticed():
    flat = [1.0] * 10 + [0.9] * 12
    usual = {"patience": 2, "factor": 0.5, "cooldown": 1}
    found = rows(S.ReduceOnPlateau(sgd(2), **usual), flat)
    assert same(found, expected([0.3, 0.6], flat, [0, 0], **usual))
    for other in (
        {"patience": 3},
        {"factor": 0.51},
        {"cooldown": 2},
        {"mode": "max"},
        {"threshold": 0.2},
        {"eps": 0.1},
    ):
        assert not same(found, expected([0.3, 0.6], flat, [0, 0], **{**usual, **other})), other
    assert not same(found, expected([0.3, 0.6], flat, [0.1, 0], **usual))


@PROPERTY
@given(metrics, options, st.sampled_from([0.0, 0.05, [0.1, 0.0]]))
def test_the_learning_rates_are_torchs(metrics, options, least):
    ours = S.ReduceOnPlateau(sgd(2), min=least, **options)
    theirs = ReduceLROnPlateau(sgd(2), min_lr=least, **options)
    assert isinstance(ours, ReduceLROnPlateau)
    for metric in metrics:
        ours.step(metric)
        theirs.step(metric)
        assert numbers(ours.optimizer) == numbers(theirs.optimizer)
        assert ours.get_last_lr() == theirs.get_last_lr()
        for name in ("best", "num_bad_epochs", "cooldown_counter", "in_cooldown", "last_epoch", "min_lrs"):
            assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("kind", KINDS)
def test_several_hyperparameters_at_once(kind):
    other = "momentum" if "SGD" in kind else "betas[1]"
    plateau = S.ReduceOnPlateau(make(kind), ["weight_decay", other], **OFTEN)
    (group,) = plateau.optimizer.param_groups
    base = read(group, other)
    for reductions in range(5):
        plateau.step(1.0)
        assert group["weight_decay"] == 0.2 * 0.5**reductions
        assert read(group, other) == base * 0.5**reductions
        assert group["lr"] == 0.3
        assert plateau.get_last_lr() == [0.3]


def test_a_minimum_for_each_group():
    plateau = S.ReduceOnPlateau(sgd(2), min=[0.1, 0.2], **OFTEN)
    for _ in range(9):
        plateau.step(1.0)
    assert [group["lr"] for group in plateau.optimizer.param_groups] == [0.1, 0.2]


def test_a_group_that_is_added_later_has_the_minimum_of_all():
    for least, groups in ((0.1, 2), ([0.1], 1)):
        plateau = S.ReduceOnPlateau(sgd(), min=least, **OFTEN)
        plateau.step(1.0)
        plateau.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.8})
        if groups == 1:
            with pytest.raises(RuntimeError, match="there were 1 groups, each with its minimum, now there are 2"):
                plateau.step(1.0)
            continue
        plateau.step(1.0)
        assert [group["lr"] for group in plateau.optimizer.param_groups] == [0.15, 0.4]


@pytest.mark.parametrize("metric", [1.0, 1, torch.tensor(1.0), torch.tensor([1.0])])
def test_a_metric_is_read_from_what_holds_a_number(metric):
    plateau = S.ReduceOnPlateau(sgd(), **OFTEN)
    plateau.step(metric)
    assert plateau.best == 1.0
    assert type(plateau.best) is float


def test_tensors_are_filled_where_they_are():
    lr = torch.tensor(0.5)
    plateau = S.ReduceOnPlateau(make("AdamW", lr=lr), **OFTEN)
    plateau.step(1.0)
    (last,) = plateau.get_last_lr()
    plateau.step(1.0)
    assert plateau.optimizer.param_groups[0]["lr"] is lr
    assert (last.item(), lr.item(), plateau.get_last_lr()[0].item()) == (0.5, 0.25, 0.25)


@pytest.mark.parametrize("nan", [math.nan, torch.tensor(math.nan)])
def test_nan_is_refused_and_nothing_has_changed(nan):
    plateau = S.ReduceOnPlateau(sgd(2), ["lr", "momentum"], **OFTEN)
    plateau.step(1.0)
    before = numbers(plateau.optimizer), plateau.state_dict()
    with pytest.raises(ValueError, match="ReduceOnPlateau: the metric is NaN; it must be a number"):
        plateau.step(nan)
    assert (numbers(plateau.optimizer), plateau.state_dict()) == before
    plateau.step(1.0)
    assert numbers(plateau.optimizer) != before[0], "control"


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


METRICS = [1.0, 0.9, 0.95, 0.95, 0.95, 0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]


@pytest.mark.parametrize("order", ["optimizer first", "optimizer last", "optimizer not at all"])
def test_it_goes_on_from_its_state_at_every_point(order):
    def make_one():
        return S.ReduceOnPlateau(sgd(2), ["lr", "momentum"], factor=0.5, patience=1, cooldown=1, min=[0.01, 0.02])

    whole = make_one()
    expected = rows(whole, METRICS)
    final = numbers(whole.optimizer)
    assert final[0]["lr"] < 0.3 / 4
    for point in range(len(METRICS)):
        before, after = make_one(), make_one()
        rows(before, METRICS[:point])
        if order == "optimizer first":
            after.optimizer.load_state_dict(before.optimizer.state_dict())
        after.load_state_dict(saved_and_loaded(before.state_dict()))
        if order == "optimizer last":
            after.optimizer.load_state_dict(before.optimizer.state_dict())
        assert numbers(after.optimizer) == numbers(before.optimizer)
        assert after.get_last_lr() == before.get_last_lr()
        assert rows(after, METRICS[point:]) == expected[point:]
        assert numbers(after.optimizer) == final
        assert after.state_dict() == whole.state_dict()
    assert rows(make_one(), METRICS[8:]) != expected[8:], "control: without a state"


def test_a_state_of_torchs_class_is_taken():
    theirs = ReduceLROnPlateau(sgd(2), factor=0.5, patience=1)
    for metric in METRICS[:5]:
        theirs.step(metric)
    ours = S.ReduceOnPlateau(sgd(2))
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert ours.get_last_lr() == [0.3, 0.6], "torch's has no values of its own, so the optimizer's count"
    ours.optimizer.load_state_dict(theirs.optimizer.state_dict())
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for metric in METRICS[5:]:
        theirs.step(metric)
        ours.step(metric)
        assert numbers(ours.optimizer) == numbers(theirs.optimizer)


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [(["momentum"], 2, "one that reduces momentum; this one reduces lr"), ("lr", 3, "3 values of lr.* 2 groups")],
)
def test_the_state_of_another_one_is_refused_before_anything_changes(names, groups, message):
    other = S.ReduceOnPlateau(sgd(groups), names, **OFTEN)
    other.step(0.5)
    plateau = S.ReduceOnPlateau(sgd(2))
    before = numbers(plateau.optimizer), plateau.state_dict()
    with pytest.raises(ValueError, match=message):
        plateau.load_state_dict(other.state_dict())
    assert (numbers(plateau.optimizer), plateau.state_dict()) == before
