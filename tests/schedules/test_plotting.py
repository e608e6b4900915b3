"""Figures: what is on them, and what they say where they cannot be made."""

import itertools
import math
import subprocess
import sys

import pytest

from torchopt_notes.schedules import RangeTest, Schedule, cosine, linear, warmup
from torchopt_notes.schedules.plotting import plot_range_test, plot_schedule

WITHOUT = """
import sys
{hide}
from torchopt_notes import schedules as S
print("matplotlib" in sys.modules and sys.modules["matplotlib"] is not None)
try:
    S.cosine(10).plot(10)
    print("drawn", "matplotlib.pyplot" in sys.modules)
except ImportError as error:
    print(error)
try:
    S.RangeTest((0.1, 1.0), (1.0, 2.0), (1.0, 2.0)).plot()
    print("drawn", "matplotlib.pyplot" in sys.modules)
except ImportError as error:
    print(error)
"""


def run(hide):
    command = [sys.executable, "-c", WITHOUT.format(hide=hide)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_without_matplotlib_the_message_says_what_to_install():
    loaded, *messages = run('sys.modules["matplotlib"] = None; sys.modules["matplotlib.figure"] = None')
    assert loaded == "False"
    assert len(messages) == 2
    for message in messages:
        assert "matplotlib" in message
        assert "pip install 'torchopt-notes[cli]'" in message


# Every other test here draws, or compares with what is drawn.
pytest.importorskip("matplotlib", reason="plots need the extra 'cli'")


def test_matplotlib_is_loaded_by_the_first_figure_and_pyplot_never():
    assert run("") == ["False", "drawn False", "drawn False"]


def line(figure, index=0):
    (axes,) = figure.axes
    x, y = axes.lines[index].get_data()
    return list(x), list(y)


@pytest.mark.parametrize("draw", [plot_schedule, Schedule.plot])
def test_every_step_is_on_the_line(draw):
    schedule = warmup(4) >> cosine(16)
    figure = draw(schedule, 25, base=0.25)
    x, y = line(figure)
    assert x == list(range(26))
    assert y == [0.25 * schedule(step) for step in range(26)]
    assert y != [schedule(step) for step in range(26)]


@pytest.mark.parametrize(("base", "label"), [(1.0, "multiplier"), (1, "multiplier"), (0.5, "value")])
def test_axes_are_labelled(base, label):
    (axes,) = plot_schedule(linear(5), 5, base=base).axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", label, "linear(5)")


def test_a_long_expression_is_no_title():
    schedule = warmup(1)
    for steps in range(2, 12):
        schedule = schedule >> cosine(steps)
    assert plot_schedule(schedule, 10).axes[0].get_title() == ""


@pytest.mark.parametrize("steps", [2000, 2001, 123_457, 10**9])
def test_long_schedules_are_sampled_at_whole_steps_up_to_the_last(steps):
    asked = []
    x, _ = line(plot_schedule(lambda step: asked.append(step) or 1.0, steps))
    assert x == asked
    assert all(type(step) is int for step in asked)
    assert asked[0] == 0
    assert asked[-1] == steps
    assert len(asked) == min(steps + 1, 2001)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (0, ValueError, "steps must be a number of steps >= 1, got 0"),
        (-3, ValueError, "steps must be a number of steps >= 1"),
        (2.5, ValueError, r"steps must be a whole number, got 2\.5"),
        (math.inf, ValueError, "steps must be a finite number"),
        ("10", TypeError, "steps must be a number, got '10'"),
        (None, TypeError, "steps must be a number"),
        (True, TypeError, "steps must be a number"),
    ],
)
def test_steps_that_cannot_be_meant(steps, error, message):
    with pytest.raises(error, match=message):
        linear(5).plot(steps)


@pytest.mark.parametrize(("base", "error"), [(math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)])
def test_a_base_that_cannot_be_meant(base, error):
    with pytest.raises(error, match="base must be a"):
        linear(5).plot(5, base=base)


def test_something_that_is_no_schedule():
    with pytest.raises(TypeError, match=r"0\.1 is no schedule"):
        plot_schedule(0.1, 5)


LRS = tuple(10.0 ** (i / 4 - 6) for i in range(20))
FALLING = tuple(2.0 for _ in range(8)) + tuple(2.0 - 0.1 * i**2 for i in range(4)) + tuple(range(2, 10))


def test_a_range_test_shows_both_courses_and_the_suggestion():
    result = RangeTest(LRS, tuple(loss + 0.01 for loss in FALLING), FALLING)
    figure = result.plot()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "loss")
    assert line(figure, 0) == (list(LRS), list(result.losses))
    assert line(figure, 1) == (list(LRS), list(FALLING))
    assert result.suggestion is not None
    assert list(line(figure, 2)[0]) == [result.suggestion] * 2
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["loss", "smoothed", f"suggestion {result.suggestion:.2g}"]


def test_without_a_suggestion_nothing_is_marked():
    (axes,) = plot_range_test(RangeTest(LRS, FALLING[::-1], tuple(float(i) for i in range(20)))).axes
    assert len(axes.lines) == 2


@pytest.mark.parametrize("last", [1e30, math.inf, math.nan])
def test_the_loss_that_ended_the_test_does_not_squash_the_others(last):
    values = (*FALLING[:12], last)
    drawn = []
    for diverged in (True, False):
        figure = RangeTest(LRS[:13], values, values, diverged).plot()
        figure.savefig("/dev/null", format="svg")
        drawn.append(figure.axes[0].get_ylim())
    low, high = drawn[0]
    assert low < min(FALLING[:12])
    assert max(FALLING[:12]) < high < 3
    if math.isfinite(last):
        assert drawn[1][1] > last / 2  # a control: a last loss like any other is shown


def test_a_test_of_one_loss_can_be_drawn():
    RangeTest((1.0,), (math.nan,), (math.nan,), True).plot().savefig("/dev/null", format="svg")
