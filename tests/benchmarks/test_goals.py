"""Goals: each has a figure of the result, a bar, and no opinion."""

import pytest

from benchmarks.campaign import ON_CURVES, WITH_CLIPPING
from benchmarks.cases import CASES
from benchmarks.contestants import CONTESTANTS, HYPERPARAMETERS, YARDSTICK
from benchmarks.goals import FUSED_ON_CPU, LARGE, NOT_PEERS, ON_GPU, Goal, goals
from benchmarks.page import IN_SHORT
from benchmarks.report import BASELINES
from tests.benchmarks.results import result, row, wrong

LIGHTER = 1e-9


def only(found):
    (goal,) = goals(found)
    return goal


def test_names_that_goals_and_tables_look_for_exist():
    """A mistyped one would never be found, and never be missed."""
    assert {*FUSED_ON_CPU, *ON_GPU} <= HYPERPARAMETERS.keys()
    named = {one.name for one in (*CONTESTANTS, YARDSTICK)}
    assert {*NOT_PEERS, *BASELINES, *ON_CURVES, "torch foreach"} <= named
    cases = {case.name for case in CASES}
    assert {*WITH_CLIPPING["cpu"], *WITH_CLIPPING["cuda"], *LARGE.values(), *(case for _, case, _ in IN_SHORT)} <= cases
    assert {"gpt2-124m", "tiny-2000", "resnet-101"} <= cases
    assert {optimizer for optimizer, _, _ in IN_SHORT} <= HYPERPARAMETERS.keys()


@pytest.mark.parametrize(("measured", "met"), [(1.0, True), (1.0 - LIGHTER, False), (1.0 + LIGHTER, True)])
def test_at_least_means_the_bar_itself_is_enough(measured, met):
    goal = only(result(row(), row("torch fused", speed=measured)))
    assert (goal.bar, goal.measured, goal.at_most, goal.met) == (1.0, measured, False, met)
    assert goal.what == "adamw, one-20m: speed against torch fused"
    assert goal.cells()[1] == "≥ 1×"
    assert goal.cells()[3] == ("yes" if met else "no")


@pytest.mark.parametrize(("measured", "met"), [(1.15, True), (1.15 - LIGHTER, True), (1.15 + LIGHTER, False)])
def test_at_most_means_the_bar_itself_is_enough(measured, met):
    goal = only(result(linearity={"ratio": measured}))
    assert (goal.bar, goal.measured, goal.at_most, goal.met) == (1.15, measured, True, met)
    assert goal.cells()[1] == "≤ 1.15×"
    assert goal.cells()[3] == ("yes" if met else "no")


def test_no_figure_no_goal():
    assert goals(result()) == goals(result(device="cuda")) == []
    assert goals(result(row(), row("another", speed=5.0))) == []
    assert goals(result(wrong("torch fused", "scenario longer"))) == []
    assert goals(result(row("torch fused", speed=3.0, case="tiny-20000"))) == []
    # Another operation's figure is none.
    assert [goal.bar for goal in goals(result(row("torch fused", speed=3.0, operation="clip")))] == [1.25]


@pytest.mark.parametrize(
    ("found", "bar"),
    [
        (row("torch fused", optimizer="adam"), 1.0),
        (row("torch fused", optimizer="adagrad"), 1.0),
        (row("torch fused", optimizer="sgd"), 1.0),
        (row("torch default", optimizer="nadam"), 4.0),
        (row("torch fused", case="gpt2-124m"), 1.0),
        (row("torch default", case="gpt2-124m"), 6.0),
        (row("torch fused", case="tiny-2000"), 1.0),
    ],
    ids=lambda value: f"{value['optimizer']}-{value['case']}-{value['contestant']}" if isinstance(value, dict) else "",
)
def test_bars_on_a_cpu(found, bar):
    goal = only(result(found))
    assert (goal.bar, goal.measured) == (bar, 1.0)
    assert goal.met is (bar <= 1.0)


@pytest.mark.parametrize(("ours", "ratio"), [(560, 1.7), (280, 0.85), (279, 279 / 560 * 1.7)])
def test_bytes_per_second_are_held_against_the_yardsticks(ours, ratio):
    """The yardstick moves 560 bytes in 1.7 times the time of ours."""
    own = row(optimizer="lion", bytes=ours)
    yardstick = row(YARDSTICK.name, optimizer="lion", bytes=560, speed=1.7)
    goal = only(result(own, yardstick))
    assert goal.what == "lion, one-20m: bytes per second against fused AdamW"
    assert goal.measured == pytest.approx(ratio)
    assert goal.met is (ours >= 280)
    assert goals(result(own)) == []


def test_host_and_import_times():
    found = result(
        host={"tensors": 1_000, "steady": 0.5e-6, "moving": 1.1e-6},
        **{"import": {"torch": 1.0, "package": 0.02, "with an optimizer": 0.05}},
    )
    steady, moving, imported = goals(found)
    assert (steady.bar, steady.measured, steady.met) == (0.5, pytest.approx(0.5), True)
    assert (moving.bar, moving.measured, moving.met) == (1.0, pytest.approx(1.1), False)
    # The time with an optimizer holds the package's.
    assert (imported.bar, imported.measured, imported.met) == (50, pytest.approx(50), True)
    assert imported.cells()[1:] == ["≤ 50 ms", "50 ms", "yes"]


def on_gpu(*rows, **more):
    return result(*rows, device="cuda", **more)


def test_a_gpus_bandwidth_is_held_against_a_copy():
    own = row(case="one-200m", bytes=950_000_000, launches=1)  # in a millisecond; the copy makes 10¹² in a second
    (bandwidth,) = goals(on_gpu(own))
    assert bandwidth.measured == pytest.approx(0.95)
    assert bandwidth.bar == 0.95
    (bandwidth,) = goals(on_gpu({**own, "bytes": 949_000_000}))
    assert not bandwidth.met


@pytest.mark.parametrize(("counted", "met"), [(1, [True]), (2, [False]), (None, [])])
def test_a_gpus_launches_are_counted_where_there_are_many_tensors(counted, met):
    found = goals(on_gpu(row(case="resnet-101", launches=counted)))
    assert [goal.met for goal in found] == met
    assert all(goal.cells()[1] == "≤ 1" for goal in found)


@pytest.mark.parametrize("seconds", [[1e-3], [2e-3]], ids=["faster", "slower"])
def test_a_gpus_goal_is_held_against_the_fastest_peer(seconds):
    rows = (
        row(case="one-200m", optimizer="lion"),
        row("torch default", case="one-200m", optimizer="lion", seconds=1e-6, speed=0.1),  # no peer
        row(YARDSTICK.name, case="one-200m", optimizer="lion", seconds=1e-6, speed=0.1),  # nor this
        row("timm", case="one-200m", optimizer="lion", seconds=1.5e-3, speed=1.5),
        row("bitsandbytes", case="one-200m", optimizer="lion", seconds=seconds, speed=3.0),
        row("apex", case="one-200m", optimizer="lion", operation="clip", seconds=1e-6, speed=0.1),
    )
    goal = only(on_gpu(*rows))
    best, speed = ("bitsandbytes", 3.0) if seconds == [1e-3] else ("timm", 1.5)
    assert goal == Goal(f"lion, one-200m: speed against {best}", 3.0, speed)
    assert goal.met is (best == "bitsandbytes")


@pytest.mark.parametrize(
    ("case", "contestant", "operation", "bar"),
    [
        ("one-200m", "torch fused", "step", 1.0),
        ("one-200m", "torch fused", "clip", 1.3),
        ("resnet-101", "torch fused", "step", 1.0),
        ("resnet-101", "torch foreach", "step", 1.5),
    ],
)
def test_bars_on_a_gpu(case, contestant, operation, bar):
    assert only(on_gpu(row(contestant, case=case, operation=operation, speed=bar))).met
    assert not only(on_gpu(row(contestant, case=case, operation=operation, speed=bar - LIGHTER))).met
    assert goals(on_gpu(row(contestant, case="one-20m", operation=operation))) == []
