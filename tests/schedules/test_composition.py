"""Schedules put together, found by hypothesis: they mean what their definitions say, whatever they are made of."""

import copy
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchopt_notes import schedules as S

from .trees import INF, build, finite, horizon, lasting, leaves, sizes, steps, steps_of, trees, value

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def close(one, other):
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)


@PROPERTY
@given(st.data())
def test_values_are_those_of_the_definitions(data):
    tree = data.draw(trees)
    schedule = build(tree)
    for step in data.draw(st.lists(steps_of(tree), min_size=5, max_size=5)):
        assert close(schedule(step), value(tree, step)), (schedule, step)


@pytest.mark.parametrize(
    "tree",
    [
        ("then", ("linear", 4, 0.3, 1.0), ("cosine", 6, 0.5, 0.0)),
        ("repeat", ("linear", 4, 0.3, 1.0), 3),
        ("stretch", ("step_decay", 3, 0.5), 2),
        ("until", ("exponential", 0.9), 6),
        ("clip", ("linear", 10, 1.0, 0.0), 0.2, 0.7),
        ("times", ("warmup", 5), ("exponential", 0.9)),
        ("plus", ("warmup", 5), ("number", 0.3)),
    ],
    ids=lambda tree: tree[0],
)
def test_another_definition_would_be_noticed(tree):
    name, one, *rest = tree
    other = (name, ("plus", one, ("number", 1e-9)), *rest)
    later = ("then", ("hold", 0.3, 1), tree)
    assert all(close(build(tree)(step), value(tree, step)) for step in range(20))
    for wrong in (other, later):
        assert not all(close(build(tree)(step), value(wrong, step)) for step in range(20))


@PROPERTY
@given(trees)
def test_horizons_are_those_of_the_definitions(tree):
    assert build(tree).horizon == horizon(tree)


@PROPERTY
@given(trees.map(finite), st.integers(0, 10**6))
def test_after_the_horizon_nothing_changes(tree, more):
    schedule = build(tree)
    assert schedule(schedule.horizon + more) == schedule(schedule.horizon)


def test_before_the_horizon_it_may_have_changed():
    assert S.linear(10)(9.75) != S.linear(10)(10)


@PROPERTY
@given(trees)
def test_what_it_prints_makes_it_again(tree):
    schedule = build(tree)
    again = [eval(repr(schedule), dict(vars(S))), pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)]
    for other in again:
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert repr(other) == repr(schedule)
    assert schedule != schedule * 1


@PROPERTY
@given(trees, st.lists(steps, min_size=3, max_size=6))
def test_arrays_hold_the_values_of_the_single_steps(tree, some):
    schedule = build(tree)
    assert schedule(some).tolist() == [schedule(step) for step in some]


@PROPERTY
@given(trees.map(finite), trees.map(finite), trees, steps)
def test_then_is_associative(first, second, third, step):
    a, b, c = build(first), build(second), build(third)
    assert (a >> b) >> c == a >> (b >> c)
    assert repr((a >> b) >> c) == repr(a >> (b >> c))
    assert ((a >> b) >> c)(step) == (a >> (b >> c))(step)
    assert ((a >> b) >> c).horizon == a.horizon + b.horizon + c.horizon


def test_then_does_not_commute():
    assert S.linear(3) >> S.cosine(4) != S.cosine(4) >> S.linear(3)


@PROPERTY
@given(trees.map(finite), trees)
def test_a_joint_belongs_to_what_begins_there(first, second):
    a, b = build(first), build(second)
    assert (a >> b)(a.horizon) == b(0)
    if a.horizon:
        assert (a >> b)(0) == a(0)


@PROPERTY
@given(trees, trees, steps)
def test_products_and_sums_of_two(first, second, step):
    a, b = build(first), build(second)
    assert close((a * b)(step), (b * a)(step))
    assert close((a + b)(step), (b + a)(step))
    assert close((2 * a)(step), (a + a)(step))
    assert (a * b).horizon == (a + b).horizon == max(a.horizon, b.horizon)


@PROPERTY
@given(trees.map(lasting), st.integers(1, 4), steps)
def test_repeat_is_one_after_the_other(tree, times, step):
    one = build(tree)
    row = one
    for _ in range(times - 1):
        row = row >> one
    assert one.repeat(times)(step) == row(step)
    assert one.repeat(times).horizon == row.horizon
    if step < row.horizon:
        assert one.repeat()(step) == row(step)


@PROPERTY
@given(trees, st.integers(1, 1000), st.integers(0, 60))
def test_in_epochs_and_in_steps(tree, steps_per_epoch, epoch):
    schedule = build(tree)
    assert schedule.stretch(steps_per_epoch)(epoch * steps_per_epoch) == schedule(epoch)


starting_at_one = st.one_of(
    st.builds(S.linear, sizes, st.just(1.0), st.sampled_from([0.0, 0.1])),
    st.builds(S.cosine, sizes, st.just(1.0), st.sampled_from([0.0, 0.1])),
    st.builds(S.polynomial, sizes, st.just(1.0), st.just(0.1), power=st.sampled_from([0.5, 2.0])),
    st.builds(S.rex, sizes),
    st.builds(S.exponential, st.sampled_from([0.5, 0.99])),
    st.builds(S.inverse_time, st.sampled_from([0.1, 1.0])),
    st.builds(S.inverse_sqrt, sizes),
    st.builds(S.step_decay, sizes),
    st.builds(S.warm_restarts, sizes, st.sampled_from([1, 2])),
    st.builds(S.cooldown, sizes, shape=st.sampled_from(["linear", "cosine", "1-sqrt"])),
    st.builds(S.constant),
)


@PROPERTY
@given(sizes, st.sampled_from(["linear", "cosine", "exponential"]), st.none() | st.just(0.2), starting_at_one)
def test_a_warm_up_leads_without_a_jump_to_what_starts_at_one(length, shape, start, then):
    warmup = S.warmup(length, start, shape=shape)
    schedule = warmup >> then
    assert close(schedule(length), 1)
    last_step = 1 - warmup(length - 1)
    assert 0 < last_step <= 1
    assert abs(schedule(length) - schedule(length - 1)) <= last_step + 1e-12
    assert abs(schedule(length) - schedule(length - 2**-20)) < 1e-5
    jumping = warmup >> then * 0.9
    assert abs(jumping(length) - jumping(length - 2**-20)) > 0.09, "control"


def largest_change(schedule, end, parts=64):
    values = schedule([step / parts for step in range(end * parts + 1)])
    return max(abs(values[1:] - values[:-1])) * parts


@pytest.mark.parametrize(
    ("up", "down", "mode", "gamma"),
    [(8, None, "triangular", 1), (5, 11, "triangular", 1), (6, 3, "triangular2", 1), (7, 4, "exp_range", 0.95)],
)
def test_cycles_are_continuous(up, down, mode, gamma):
    schedule = S.cyclic(up, down, start=0.2, mode=mode, gamma=gamma)
    steepest = 0.8 / min(up, down or up) + 0.8 * abs(math.log(gamma))
    assert largest_change(schedule, 80) <= steepest * (1 + 1e-9)
    assert largest_change(schedule * S.step_decay(10), 80) > 4 * steepest, "control"


@pytest.mark.parametrize(("first", "factor", "end"), [(10, 1, 0.0), (7, 2, 0.1), (3, 3, 0.3)])
def test_restarts_jump_up_and_nowhere_else(first, factor, end):
    schedule = S.warm_restarts(first, factor, end=end)
    begin, length = 0, first
    while begin < 100:
        run = schedule([begin + length * part / 256 for part in range(256)])
        changes = run[1:] - run[:-1]
        assert (changes < 0).all()
        assert max(abs(changes)) <= (1 - end) * math.pi / 2 / 256 * (1 + 1e-9)
        begin, length = begin + length, length * factor
        assert close(schedule(begin), 1)
        assert abs(schedule(begin - 2**-20) - end) < 1e-6


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_is_continuous(strategy, three_phase):
    schedule = S.one_cycle(60, anneal_strategy=strategy, three_phase=three_phase)
    assert largest_change(schedule, 70) <= math.pi / 2 / 17
    assert largest_change(schedule >> S.constant(0.5), 70) > 1, "control"


@PROPERTY
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=4), st.floats(0.01, 10))
def test_lengths_that_are_rounded_end_with_the_last_value_too(parts, factor):
    falling = [S.multistep([length], gamma=0.5).until(length) for length in parts]
    row = falling[0]
    for one in falling[1:]:
        row = row >> one
    assert row(row.horizon) == row(row.horizon * 2) == 0.5
    longer = row.stretch(factor)
    assert longer(longer.horizon) == longer(longer.horizon * 2) == 0.5


@PROPERTY
@given(leaves.filter(lambda leaf: horizon(leaf) == INF), trees)
def test_nothing_follows_what_never_ends(endless, then):
    with pytest.raises(ValueError, match="never ends, so that nothing can follow it"):
        build(endless) >> build(then)


@pytest.mark.parametrize("factor", [2.2, 3.3])
def test_a_stretched_jump_is_where_it_belongs(factor):
    """A quotient that is rounded down would miss it."""
    schedule = S.step_decay(1, gamma=0.5).stretch(factor)
    assert [schedule(n * factor) for n in range(60)] == [0.5**n for n in range(60)]
    assert any((n * factor) / factor < n for n in range(60))
