"""The command: exit codes, messages, files, and that it says what the survey found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.wrong import MISTAKES
from torchopt_notes.__main__ import main
from torchopt_notes.cli import parity
from torchopt_notes.testing import SCENARIOS

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
        (["--json", "/no/such/folder/x.json"], "there is no folder /no/such/folder"),
    ],
    ids=" ".join,
)
def test_bad_arguments_are_2_and_say_what_is_right(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["parity", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_backend_that_cannot_run_says_why(monkeypatch, capsys):
    from torchopt_notes.testing import plan

    monkeypatch.setattr(plan, "missing_backends", lambda device: {"triton": "no GPU"})
    with pytest.raises(SystemExit):
        main(["parity", "--backend", "triton"])
    assert "backend triton cannot run here: no GPU" in capsys.readouterr().err


def test_without_rich_it_says_what_to_install(monkeypatch, capsys):
    find = parity.importlib.util.find_spec
    monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None if name == "rich" else find(name))
    assert main(QUICK) == 1
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
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent.parent)
    assert done.returncode == 0, done.stdout[-5000:]
    found = json.loads(path.read_text())
    assert found["failures"] == found["stale"] == []
    ran = {outcome["scenario"] for cell in found["cells"] for case in cell["cases"] for outcome in case["outcomes"]}
    assert ran == {scenario.name for scenario in SCENARIOS} | {"growth"}
