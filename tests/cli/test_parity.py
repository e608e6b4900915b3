"""The command: exit codes, messages, files, and that it says what the survey found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.wrong import MISTAKES
from torchopt_notes.__main__ import main
from torchopt_notes.cli import parity
from torchopt_notes.testing import SCENARIOS, Histogram
from torchopt_notes.testing.reports import SAME_RULE

ROOT = Path(__file__).parent.parent.parent
QUICK = [
    "parity",
    "--optimizer",
    "lion",
    "--backend",
    "eager",
    "--dtype",
    "fp32",
    "--scenario",
    "shapes",
    "--jobs",
    "1",
]
WRONG = ["parity", "--against", "tests.testing.wrong:WrongAdam", "--counterpart", "adam", "--dtype", "fp32"]


def test_all_the_same_is_0_and_written(tmp_path, capsys):
    files = tmp_path / "found.json", tmp_path / "table.md"
    assert main([*QUICK, "--json", str(files[0]), "--markdown", str(files[1])]) == 0
    found = json.loads(files[0].read_text())
    assert found["passed"] is True
    assert [cell["optimizer"] for cell in found["cells"]] == ["Lion"]
    assert [case["case"] for case in found["cells"][0]["cases"]] == ["lion", "lion-coupled", "lion-maximize"]
    assert "| `Lion` | eager | fp32 | float64 |" in files[1].read_text()
    shown = capsys.readouterr().out
    assert "Lion" in shown
    assert "1 cells, 3 cases in them, scenarios: 3 same" in shown


def test_a_difference_is_1_and_said_in_words(capsys):
    arguments = json.dumps({"mistake": MISTAKES["groups"]})
    assert main([*WRONG, "--scenario", "shapes,groups", "--arguments", arguments, "--jobs", "1"]) == 1
    shown = capsys.readouterr().out
    assert "failed WrongAdam, fp32, against torch.optim.Adam: scenario groups: step 1, params[1][" in shown
    assert "1 same, 1 failed" in shown


def test_a_third_partys_right_optimizer_is_0():
    assert main([*WRONG, "--scenario", "shapes,groups", "--jobs", "1"]) == 0


def test_what_is_explained_is_0_and_said(capsys):
    assert (
        main(["parity", "--optimizer", "nadam", "--backend", "eager", "--dtype", "bf16", "--scenario", "checkpoint"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "explained nadam eager bf16 checkpoint" in shown
    assert "mu_product" in shown


def test_a_stale_explanation_is_1(monkeypatch, capsys):
    from torchopt_notes.testing import survey
    from torchopt_notes.testing.explained import Explained

    entry = Explained("lion", "shapes", ("fp32",), "Why.")
    monkeypatch.setattr(survey, "stale", lambda results: [entry])
    assert main(QUICK) == 0  # a part of the survey does not judge
    monkeypatch.setattr(parity, "_whole", lambda options: True)
    assert main(QUICK) == 1
    assert "stale the explanation for lion, scenario shapes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer", "adamm"], "no optimizer is called 'adamm'; there are adabelief, adadelta, adafactor"),
        (["--backend", "cuda"], "no backend is called 'cuda'"),
        (["--backend", ","], "must name something"),
        (["--dtype", "half"], "no dtype is called 'half'; there are fp32"),
        (["--scenario", "shape"], "no scenario is called 'shape'"),
        (["--device", "nowhere"], "--device nowhere"),
        (["--jobs", "0"], "must be a whole number of at least 1, got '0'"),
        (["--counterpart", "adam"], "--counterpart belongs to --against"),
        (["--against", "torch.optim:Adam", "--backend", "eager"], "--backend is for this package's optimizers"),
        (["--against", "torch.optim"], "must name a module and a class"),
        (["--against", "torch.optim:LBFGS"], "no optimizer here is called 'lbfgs'"),
        (["--against", "torch.optim:Adam", "--arguments", "{"], "is no JSON"),
        (["--against", "torch.optim:Adam", "--arguments", "[1]"], "must be an object"),
        (["--against", "torch.optim:Adam", "--arguments", '{"rate": 1}'], "neither takes 'rate': Adam has lr, betas"),
        (["--against", "torch.optim:Adam", "--every-case"], "--every-case is for this package's optimizers"),
        (["--against", ".mine:Adam"], "'.mine:Adam' cannot be imported: the 'package' argument is required"),
        (["--json", "/no/such/folder/x.json"], "--json /no/such/folder/x.json: there is no folder /no/such/folder"),
        (["--json", "/"], "--json /: that is a folder"),
        (["--markdown", "tests"], "--markdown tests: that is a folder"),
    ],
    ids=" ".join,
)
def test_bad_arguments_are_2_and_say_what_is_right(arguments, message, capsys, monkeypatch):
    def survey(*arguments):
        raise AssertionError("it runs before it has looked at its arguments")

    monkeypatch.setattr(parity, "_survey", survey)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as caught:
        main(["parity", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def broken(:", "invalid syntax (broken_optimizers.py, line 1) (SyntaxError)"),
        ("Adam = no_such_name", "name 'no_such_name' is not defined (NameError)"),
        ("import no_such_module", "No module named 'no_such_module' (ModuleNotFoundError)"),
        ("import sys; sys.exit(0)", "0 (SystemExit)"),
    ],
    ids=lambda value: value if "(" not in value else "",
)
def test_a_module_that_cannot_be_imported_is_2_and_named(source, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_optimizers.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["parity", "--against", "broken_optimizers:Adam"])
    assert caught.value.code == 2
    assert f"'broken_optimizers:Adam' cannot be imported: {message}" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_2_before_anything_runs(tmp_path, monkeypatch, capsys):
    path = tmp_path / "found.json"
    asked = []
    monkeypatch.setattr(parity.os, "access", lambda *arguments: asked.append(arguments))
    with pytest.raises(SystemExit) as caught:
        main([*QUICK, "--json", str(path)])
    path.touch()
    with pytest.raises(SystemExit):
        main([*QUICK, "--json", str(path)])
    assert caught.value.code == 2
    assert asked == [(tmp_path, parity.os.W_OK), (path, parity.os.W_OK)]
    assert f"--json {path}: cannot be written" in capsys.readouterr().err


def test_a_run_that_compares_nothing_is_1_and_says_why(tmp_path, capsys):
    path = tmp_path / "found.json"
    quick = [option if option != "shapes" else "sparse-gradients" for option in QUICK]
    assert main([*quick, "--json", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "Nothing was compared, so nothing is known. refused: Lion does not support sparse gradients" in shown
    assert "Distances from the references" not in shown
    assert "nothing compared" in shown
    assert json.loads(path.read_text())["passed"] is False
    # One scenario that compares something is enough.
    assert main([option if option != "shapes" else "sparse-gradients,shapes" for option in QUICK]) == 0
    assert "Nothing was compared" not in capsys.readouterr().out


def test_it_says_how_far_the_numbers_are_apart(tmp_path, capsys):
    path = tmp_path / "found.json"
    adam = ["parity", "--optimizer", "adam", "--backend", "eager", "--scenario", "shapes", "--jobs", "1"]
    assert main([*adam, "--dtype", "fp32,bf16", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["histogram_edges"] == [0.0, 1.0, 2.0, 4.0, 16.0, 256.0, 65536.0, "inf"]
    fp32, bf16 = (Histogram(tuple(cell["histogram"])) for cell in found["cells"])
    assert bf16.counts[1] > 0
    assert f"ulps, eager fp32: {fp32}\n" in shown
    assert f"ulps, eager bf16: {bf16}\n" in shown
    assert f"Distances from the references in ulps: {fp32 + bf16}.\n" in shown
    assert "≤ 1: " in shown


def test_a_row_against_float64_is_said_to_hold_the_arithmetic_alone(capsys):
    assert main(QUICK) == 0
    assert f"{SAME_RULE}\n" in capsys.readouterr().out
    assert main([*WRONG, "--scenario", "shapes", "--jobs", "1"]) == 0
    assert SAME_RULE not in capsys.readouterr().out


def test_a_status_without_a_colour_is_dim(monkeypatch):
    from torchopt_notes.cli import tables
    from torchopt_notes.testing.survey import Cell, Job, Result
    from torchopt_notes.testing.trials import OurCase

    monkeypatch.setattr(Cell, "status", "something new")
    table = tables.overview([Result(Job(OurCase("lion"), "eager", "fp32"), "float64", ())])
    assert list(table.columns[-1].cells) == ["[dim]something new[/]"]


def test_a_backend_that_cannot_run_says_why(monkeypatch, capsys):
    from torchopt_notes.testing import plan

    monkeypatch.setattr(plan, "missing_backends", lambda device: {"triton": "no GPU"})
    with pytest.raises(SystemExit):
        main(["parity", "--backend", "triton"])
    assert "backend triton cannot run here: no GPU" in capsys.readouterr().err


def test_without_rich_it_says_what_to_install(monkeypatch, capsys):
    find = parity.importlib.util.find_spec
    monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None if name == "rich" else find(name))
    assert main(QUICK) == 2
    assert "pip install 'torchopt-notes[cli]'" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(parity, "_survey", interrupted)
    assert main(QUICK) == 130
    assert "Stopped" in capsys.readouterr().err


def test_without_a_command_it_lists_them():
    command = [sys.executable, "-m", "torchopt_notes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "COMMAND" in done.stderr


@pytest.mark.full
def test_the_whole_survey_passes(tmp_path):
    path = tmp_path / "found.json"
    command = [sys.executable, "-m", "torchopt_notes", "parity", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:]
    found = json.loads(path.read_text())
    assert found["failures"] == found["stale"] == []
    ran = {outcome["scenario"] for cell in found["cells"] for case in cell["cases"] for outcome in case["outcomes"]}
    assert ran == {scenario.name for scenario in SCENARIOS} | {"growth"}
