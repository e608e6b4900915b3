"""What moved between two results: what is beyond the noise, and nothing else."""

import json
import random

import pytest

from benchmarks import ratchet
from benchmarks.command import main
from tests.benchmarks.results import result, row, wrong

ROUNDS = 31
NOTHING = "Nothing moved beyond the noise, in {} rows."


def noisy(seed, *, slower=1.0, noise=0.01, contestant="torch fused", **more):
    """Ours takes a millisecond, the contestant two, both give or take the noise."""
    chance = random.Random(seed)
    ours, theirs = ([chance.gauss(mean, mean * noise) for _ in range(ROUNDS)] for mean in (1e-3 * slower, 2e-3))
    return row(contestant, seconds=theirs, ours=ours, speed=2 / slower, **more)


def said(old, new):
    return list(ratchet.text(old, new))


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.1])
def test_the_same_again_has_not_moved(noise):
    cases = [f"case-{i}" for i in range(50)]
    old, new = (
        result(*(noisy(start + i, noise=noise, case=case) for i, case in enumerate(cases))) for start in (0, 1_000)
    )
    assert said(old, new) == [NOTHING.format(50)]


def test_a_row_that_is_slower_beyond_its_noise_is_named():
    old = result(noisy(1), noisy(2, optimizer="lion"))
    new = result(noisy(3), noisy(4, optimizer="lion", slower=1.1))
    (line,) = said(old, new)
    assert line.startswith("lion, one-20m, step, float32: 1.")
    assert "times slower against torch fused (between 0." in line
    (move,) = ratchet.compare(old, new)
    assert not move.better
    assert move.low < move.change < move.high < 1
    assert move.change == pytest.approx(1 / 1.1, rel=0.01)


def test_faster_is_said_too_and_the_worst_comes_first():
    old = result(noisy(1), noisy(2, optimizer="lion"))
    new = result(noisy(3, slower=0.8), noisy(4, optimizer="lion", slower=1.1))
    slower, faster = said(old, new)
    assert "lion" in slower
    assert "times slower" in slower
    assert faster.startswith("adamw")
    assert "times faster" in faster


def test_what_is_lost_in_the_noise_is_not_said():
    old, new = (result(noisy(seed, noise=0.5, slower=slower)) for seed, slower in ((1, 1.0), (2, 1.1)))
    assert said(old, new) == [NOTHING.format(1)]


def test_a_move_too_small_to_matter_is_not_said_however_sure(monkeypatch):
    old, new = (result(noisy(seed, noise=0.001, slower=slower)) for seed, slower in ((1, 1.0), (2, 1.01)))
    assert said(old, new) == [NOTHING.format(1)]
    monkeypatch.setattr(ratchet, "SMALLEST", 0.0)
    assert "times slower" in said(old, new)[0]


def test_a_machine_that_slows_both_down_is_none():
    """Ours alone takes twice as long, and so does the other: what counts is the round's ratio."""
    old, new = result(row(), noisy(1)), result(row(seconds=2e-3), noisy(1))
    for name in ("seconds", "ours"):
        new["rows"][1][name] = [2 * seconds for seconds in new["rows"][1][name]]
    assert said(old, new) == [NOTHING.format(1)]


def test_rows_that_are_gone_are_named():
    old, new = result(noisy(1), noisy(2, optimizer="lion")), result(noisy(3))
    assert said(old, new) == [
        NOTHING.format(1),
        "No longer measured: one-20m, lion, step, cpu, float32, torch fused, 20000000",
    ]
    assert said(new, old) == [NOTHING.format(1)]


def test_who_was_right_and_is_wrong_is_named():
    old, new = result(noisy(1)), result(wrong("torch fused", "scenario longer: step 3"))
    lines = said(old, new)
    what = "one-20m, adamw, step, cpu, float32, torch fused, 20000000"
    assert f"Right before, and wrong now: {what}: scenario longer: step 3" in lines
    assert not any("wrong" in line for line in said(new, new))


def test_another_machine_is_said():
    old, new = result(noisy(1)), result(noisy(2))
    new["machine"]["cpu"] = "Another processor"
    assert said(old, new)[0].startswith("These are results of different machines")
    assert not said(old, old)[0].startswith("These")
    gpu = result(noisy(1), device="cuda")
    assert said(gpu, gpu) == [NOTHING.format(1)]
    assert said(old, gpu)[0].startswith("These are results of different machines")


@pytest.mark.parametrize("change", [{"case": "tiny-2000"}, {"device": "cuda"}, {"dtype": "bfloat16"}], ids=str)
def test_no_row_in_common_is_said(change):
    lines = said(result(noisy(1)), result(noisy(1, **change)))
    assert lines[0] == "The two results have no row in common."
    assert not any("Nothing moved" in line for line in lines)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"7", b'{"cells": []}', b"\xff\xfe\x00"], ids=lambda content: repr(content)
)
def test_a_file_that_is_no_result_is_named(content, tmp_path):
    path = tmp_path / "found.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no result of") as caught:
        ratchet.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json is no result"):
        ratchet.load(tmp_path / "nowhere.json")


def written(folder, **results):
    for name, found in results.items():
        (folder / f"{name}.json").write_text(json.dumps(found))
    return [str(folder / f"{name}.json") for name in results]


def test_the_command_prints_it(tmp_path, capsys):
    old, new = result(noisy(1)), result(noisy(2, slower=1.1))
    assert main(["compare", *written(tmp_path, old=old, new=new)]) == 0
    assert capsys.readouterr().out.splitlines() == said(old, new)


def test_the_command_refuses_what_is_no_result(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *written(tmp_path, old=result(noisy(1)), new=[])])
    assert caught.value.code == 2
    assert "new.json is no result of" in capsys.readouterr().err
