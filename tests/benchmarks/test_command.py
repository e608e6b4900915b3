"""The command: that it runs, what it writes, and what it says to bad arguments."""

import json

import pytest
import torch

from benchmarks import campaign, study
from benchmarks.campaign import Campaign
from benchmarks.cases import CASES, find_cases
from benchmarks.command import main
from benchmarks.contestants import CONTESTANTS, HYPERPARAMETERS, YARDSTICK
from benchmarks.gate import Verdict
from benchmarks.goals import LARGE
from benchmarks.operations import OPERATIONS

QUICK = ["--device", "cpu", "--quick", "--cases", "tiny-2000", "--peers", "torch fused", "--optimizers", "adamw,lion"]
# Training, host time and import too: as where all cases are measured.
WITH_EXTRAS = [*QUICK, "--extras"]


def written(folder):
    (path,) = folder.glob("*.json")
    return path, json.loads(path.read_text())


def test_it_measures_and_writes(tmp_path, capsys):
    out = tmp_path / "not" / "there yet"
    assert main([*WITH_EXTRAS, "--out", str(out)]) == 0
    path, found = written(out)
    assert found["device"] == "cpu"
    assert found["quick"] is True
    assert found["machine"]["torch"] == torch.__version__
    assert {"cpu", "cores", "threads", "python", "torchopt_notes", "commit"} <= found["machine"].keys()
    assert [min(limits.values()) > 0 for limits in found["limits"]] == [True, True]
    assert path.name.endswith("-fp32-quick.json")
    measured = [(row["optimizer"], row["operation"], row["contestant"]) for row in found["rows"]]
    assert measured == [
        *(("adamw", operation, who) for operation in OPERATIONS for who in ("ours", "torch fused")),
        ("lion", "step", "ours"),
    ]
    for row in found["rows"]:
        assert row["wrong"] == ""
        assert [len(row[kept]) for kept in ("seconds", "host", "ours")] == [3, 3, 3]
        assert min(row["seconds"]) > 0
    assert [(one["optimizer"], one["contestant"], one["reason"]) for one in found["skipped"]] == [
        ("lion", "torch fused", "has no such optimizer")
    ]
    for name in ("steady", "moving"):
        assert found["host"][name] == sorted(found["host"]["raw"][name])[2] > 0
    assert 0 < found["import"]["package"] <= found["import"]["with an optimizer"]
    ours, theirs = found["training"]
    assert (ours["contestant"], theirs["contestant"]) == ("ours", "torch fused")
    assert ours["final_loss"] == pytest.approx(theirs["final_loss"], rel=1e-4)
    shown, tables = capsys.readouterr().out, path.with_suffix(".md").read_text()
    for title in ("adamw, tiny-2000 (24 tensors, 1,152 elements, float32", "A GPT trained by AdamW"):
        assert title in shown
        assert title in tables
    # Of small likenesses nobody can say whether they reach what is asked of the real ones.
    assert "Goals" not in shown + tables
    assert "torch fused (lion): has no such optimizer" in shown
    assert (out / path.stem / "speed.svg").stat().st_size > 0


@pytest.mark.full
def test_it_measures_everybody_in_more_cases(tmp_path):
    cases = ["groups-465", "half-missing", "lora-7b", "one-20m"]
    assert main(["--device", "cpu", "--quick", "--extras", "--cases", ",".join(cases), "--out", str(tmp_path)]) == 0
    _, found = written(tmp_path)
    for key in ("case", "optimizer", "contestant"):
        names = {row[key] for row in found["rows"]} | {one[key] for one in found["skipped"]}
        expected = {
            "case": cases,
            "optimizer": HYPERPARAMETERS,
            "contestant": [one.name for one in CONTESTANTS if not one.by_name],
        }[key]
        assert set(expected) <= names
    assert {row["contestant"] for row in found["rows"] if row["wrong"]}.isdisjoint(
        one.name for one in CONTESTANTS if one.distribution in ("torch", "torchopt-notes")
    )
    ours = [row for row in found["rows"] if row["contestant"] == "ours" and row["operation"] == "step"]
    assert {row["optimizer"] for row in ours} == HYPERPARAMETERS.keys()
    yardsticks = [row for row in found["rows"] if row["contestant"] == YARDSTICK.name]
    assert {row["optimizer"] for row in yardsticks} == HYPERPARAMETERS.keys()
    losses = [run["final_loss"] for run in found["training"] if run["contestant"].startswith(("ours", "torch"))]
    assert losses == pytest.approx([losses[0]] * 5, rel=1e-4)


@pytest.fixture
def _little(monkeypatch):
    """Leaves out what takes processes, compilers or training."""
    host = {"tensors": 50, "steady": 1e-6, "moving": 1e-6}
    monkeypatch.setattr(campaign.host, "host_time", lambda *arguments: host)
    imported = {"torch": 1.0, "package": 0.001, "with an optimizer": 0.03}
    monkeypatch.setattr(campaign.startup, "import_time", lambda *arguments: imported)
    monkeypatch.setattr(campaign.end_to_end, "train", lambda *arguments: iter(()))


@pytest.mark.usefixtures("_little")
@pytest.mark.parametrize(("refused", "code"), [("ours", 1), ("torch fused", 0), ("nobody", 0)])
def test_only_ours_being_wrong_is_1(refused, code, monkeypatch, capsys):
    def examine(one, *arguments):
        return Verdict(False, "scenario longer: step 3") if one.name == refused else Verdict(True)

    monkeypatch.setattr(study, "examine", examine)
    assert main(WITH_EXTRAS) == code
    assert (f"{refused} is wrong: scenario longer: step 3" in capsys.readouterr().out) is (refused != "nobody")


@pytest.mark.usefixtures("_little")
def test_what_was_measured_survives_a_failure(monkeypatch, tmp_path):
    def fail(*arguments):
        raise MemoryError("no more")

    monkeypatch.setattr(study, "examine", lambda *arguments: Verdict(True))
    monkeypatch.setattr(campaign.end_to_end, "train", fail)
    with pytest.raises(MemoryError, match="no more"):
        main([*WITH_EXTRAS, "--out", str(tmp_path)])
    _, found = written(tmp_path)
    assert {row["optimizer"] for row in found["rows"]} == {"adamw", "lion"}
    assert "training" not in found


@pytest.mark.usefixtures("_little")
def test_without_all_cases_nothing_else_is_measured_unless_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "examine", lambda *arguments: Verdict(True))
    found = {}
    for name, arguments in (("plain", QUICK), ("extras", WITH_EXTRAS)):
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
        found[name] = written(tmp_path / name)[1]
    assert {"training", "host", "import"} <= found["extras"].keys()
    assert found["plain"].keys().isdisjoint({"training", "host", "import", "linearity"})


@pytest.mark.parametrize(
    ("asked", "suffix"),
    [
        ({}, ""),
        ({"quick": True}, "-quick"),
        ({"cases": ["tiny-2000"]}, "-part"),
        ({"peers": ["torch*"]}, "-part"),
        ({"optimizers": ["lion"]}, "-part"),
    ],
)
def test_a_part_is_not_written_where_the_whole_is(asked, suffix):
    assert Campaign("cpu", **asked).suffix == suffix


BAD = [
    (["--cases", "tiny"], "no case is called 'tiny'; there are one-20m, one-200m"),
    (["--peers", "jax"], "no contestant is called 'jax'; there are ours, torch default"),
    (["--optimizers", "adamm"], "no optimizer is called 'adamm'; there are sgd, adam, adamw"),
    (["--operations", "train"], "no operation is called 'train'; there are step, clip, unscale"),
    (["--rounds", "1"], "rounds must be at least 2 and budget above 0, got 1 and 6.0"),
    (["--budget", "0"], "rounds must be at least 2 and budget above 0, got 31 and 0.0"),
    (["--cases", ","], "argument --cases: must name something"),
    (["--optimizers", ""], "argument --optimizers: must name something"),
    (["--dtype", "fp64"], "invalid choice: 'fp64'"),
    (["--device", "tpu"], "invalid choice: 'tpu'"),
    (["--out", "/dev/null/results"], "--out /dev/null/results: "),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_bad_arguments_are_2_before_anything_runs(arguments, message, monkeypatch, capsys):
    def run(*arguments):
        raise AssertionError("it runs before it has looked at its arguments")

    monkeypatch.setattr(Campaign, "run", run)
    with pytest.raises(SystemExit) as caught:
        main(["--device", "cpu", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    with pytest.raises(AssertionError, match="before it has looked"):
        main(["--device", "cpu"])


def test_a_gpu_that_is_not_there_is_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        main([*QUICK, "--device", "cuda"])
    assert caught.value.code == 2
    assert "torch finds no GPU; use --device cpu" in capsys.readouterr().err


def test_the_list_names_everything(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name in (*(case.name for case in CASES), *(one.name for one in CONTESTANTS), *HYPERPARAMETERS):
        assert name in shown
    assert "no-such-name" not in shown


def studies(**options):
    made = Campaign("cpu", **options)
    return [(curve, one.case.name, one.optimizer, one.operation) for curve, one in made._studies()]


@pytest.fixture
def _roomy(monkeypatch):
    monkeypatch.setattr(Campaign, "room", 10**9)


@pytest.mark.usefixtures("_roomy")
def test_every_optimizer_on_one_large_tensor_and_adamw_elsewhere():
    planned = [entry[1:] for entry in studies() if entry[0] is None]
    for case in CASES:
        if "cpu" in case.devices:
            optimizers = HYPERPARAMETERS if case.name == LARGE["cpu"] else ["adamw"]
            assert [o for name, o, operation in planned if (name, operation) == (case.name, "step")] == [*optimizers]
    clipped = {name for name, _, operation in planned if operation == "unscale"}
    assert clipped == set(campaign.WITH_CLIPPING["cpu"])
    assert "embedding" not in {name for name, _, _ in planned}
    assert len(planned) == len(set(planned))


@pytest.mark.usefixtures("_roomy")
def test_what_was_asked_for_is_planned():
    asked = {"cases": ["tiny-2000"], "optimizers": ["adamw", "lion"]}
    assert studies(**asked, operations=["step"]) == [
        (None, "tiny-2000", "adamw", "step"),
        (None, "tiny-2000", "lion", "step"),
    ]
    # Curves belong to a run of everything.
    assert {entry[0] for entry in studies(**asked)} == {None}
    assert {entry[0] for entry in studies()} == {None, *campaign.CURVES}


@pytest.mark.usefixtures("_roomy")
def test_the_yardstick_is_beside_every_optimizer_on_the_large_tensor():
    for _, one in Campaign("cpu")._studies():
        beside = one.case.name == LARGE["cpu"] and one.operation == "step"
        assert (YARDSTICK in one.contestants) is beside


def test_what_there_is_no_memory_for_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(Campaign, "room", 10**7)
    made = Campaign("cpu", cases=["tiny-2000", "one-20m"])
    assert {one.case.name for _, one in made._studies()} == {"tiny-2000"}
    (skipped,) = made._without_room()
    assert (skipped.case, skipped.reason) == ("one-20m", "there is no memory for 20,000,000 elements")


def test_room_is_for_less_than_the_machines_memory():
    room = Campaign("cpu").room
    assert Campaign("cpu", dtype=torch.bfloat16).room == 2 * room
    assert 10**7 < room * 4 < 2**45
    (case,) = find_cases(["llama-7b"])
    assert sum(torch.Size(shape).numel() for shape in case.shapes(room)) <= room
