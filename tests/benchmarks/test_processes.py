"""What is measured in processes of its own, and the figures behind the engine's choices."""

import pytest
import torch

import torchopt_notes.engine.compiled as compiled_backend
from benchmarks import startup, thresholds
from benchmarks.command import main
from benchmarks.processes import in_process
from tests.backends import MISSING
from torchopt_notes.engine.backends import missing_triton

UNCHANGED = """
import contextlib, types, torchopt_notes
from benchmarks import host

class Recorded(torchopt_notes.AdamW):
    def step(self):
        super().step()
        after.append([param.detach().clone() for param in self.param_groups[0]["params"]])

def moved():
    after.clear()
    measured.append(host.measure(3, 2, "Recorded"))
    return [any(not a.equal(b) for a, b in zip(*pair)) for pair in zip(after, after[1:])]

after, measured = [], []
torchopt_notes.Recorded = Recorded
without = moved()
host.mock = types.SimpleNamespace(patch=lambda *arguments, **options: contextlib.nullcontext())
result = [without, moved(), measured[0]]
"""


def test_a_process_returns_its_result():
    assert in_process("result = {'a': [1, 2.5, None]}") == {"a": [1, 2.5, None]}
    assert in_process("print('noise'); result = 7") == 7


def test_a_process_has_its_own_environment():
    source = "import os; result = [os.environ.get('OF_A_TEST'), 'PATH' in os.environ]"
    assert in_process(source, OF_A_TEST="1") == ["1", True]
    assert in_process(source) == [None, True]


@pytest.mark.parametrize("source", ["raise KeyError('a reason')", "import sys; sys.exit('a reason')"])
def test_a_process_that_fails_says_why(source):
    with pytest.raises(RuntimeError, match=r"(?s)a measuring process failed:\n.*a reason"):
        in_process(source)


@pytest.mark.skipif(missing_triton() is not None, reason=str(missing_triton()))
def test_host_time_leaves_the_launches_out():
    """Parameters stay what the first step made them; with launches every step would move them, but for the last ones,
    whose gradients are whatever the memory held."""
    without, with_launches, found = in_process(UNCHANGED, TRITON_INTERPRET="1")
    assert without == [False] * 4
    assert with_launches[:2] == [True] * 2
    assert (found["optimizer"], found["tensors"]) == ("Recorded", 3)
    for name in ("steady", "moving"):
        assert len(found["raw"][name]) == 2
        assert 0 < min(found["raw"][name]) <= found[name] <= max(found["raw"][name])


@pytest.mark.full
def test_import_times_hold_one_another():
    found = startup.import_time(1)
    assert 0 < found["package"] <= found["with an optimizer"]
    assert found["torch"] > 0
    assert found["raw"] == [[found["torch"], found["package"], found["with an optimizer"]]]


@pytest.mark.parametrize("name", startup.STEPS)
def test_first_steps_are_steps(name, monkeypatch):
    """In this process, and without the compiler: what is timed runs, and moves the parameter."""
    construct, step = startup.STEPS[name]
    source = startup.FIRST.format(construct=construct.replace("'compiled'", "'eager'"), step=step)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    found = {}
    exec(source.replace("optimizer =", "before = param.detach().clone()\noptimizer ="), found)
    assert found["result"] > 0
    assert not torch.equal(found["param"], found["before"])


@pytest.mark.full
def test_first_steps_in_processes_of_their_own():
    found = startup.first_step()
    assert found.keys() == startup.STEPS.keys()
    assert min(found.values()) > 0


@pytest.fixture
def _tiny(monkeypatch):
    monkeypatch.setattr(thresholds, "LISTS", ((2, 200),))
    monkeypatch.setattr(thresholds, "STAGED", (500_000,))
    monkeypatch.setattr(thresholds, "first_step", lambda names: dict.fromkeys(names, 1.0))


@pytest.mark.usefixtures("_tiny")
@pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))
def test_thresholds_are_measured_and_leave_the_engine_as_it_was(tmp_path, monkeypatch, capsys):
    below = []
    genuine = thresholds._step

    def step(sizes, backend):
        below.append(compiled_backend.STAGE_BELOW)
        return genuine(sizes, backend)

    monkeypatch.setattr(thresholds, "_step", step)
    before = compiled_backend.STAGE_BELOW
    assert main(["thresholds", "--rounds", "3", "--out", str(tmp_path / "found.json")]) == 0
    assert before == compiled_backend.STAGE_BELOW
    # While it measures, first nothing is staged, then everything.
    assert below == [before, before, 0, 500_001]
    found = (tmp_path / "found.json").read_text()
    assert '"compiling"' in found
    assert "500,000 elements: staged" in capsys.readouterr().out


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize(("compiled", "steps"), [(0.5, 2.0), (1.5, None)])
def test_a_compilation_is_paid_for_by_what_it_saves(compiled, steps, monkeypatch):
    from benchmarks.measuring.clock import Samples, Step

    samples = {"eager": Samples([1.0]), "compiled": Samples([compiled])}
    monkeypatch.setattr(thresholds, "take_turns", lambda *arguments: samples)
    monkeypatch.setattr(thresholds, "_step", lambda *arguments: Step(lambda: None))
    (row,) = thresholds.compiling(3)
    assert row["steps to pay"] == steps
    assert (row["tensors"], row["elements"]) == (2, 200)
