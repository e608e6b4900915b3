"""Tables, plots and pages, from results that nobody has measured."""

import copy
import io
import json

import pytest
from rich.console import Console

from benchmarks import page, plots, report
from tests.benchmarks.results import result, row, whole, wrong

REASON = "scenario longer: step 1 | params[0]: 3 | 4"


def block(found, title):
    (one,) = [block for block in report.blocks(found) if title in block.title]
    return one


def uneven(markdown):
    """Lines of tables that have another number of cells than the line above."""
    lines = markdown.splitlines()
    cells = [line.count("|") - line.count("\\|") if line.startswith("|") else 0 for line in lines]
    return [line for i, line in enumerate(lines) if i and cells[i] != cells[i - 1] and cells[i] and cells[i - 1]]


def shown(found, width=200):
    console = Console(width=width, record=True, file=io.StringIO())
    report.show(found, console)
    return console.export_text()


def test_who_is_wrong_has_the_reason_and_no_time():
    study = block(whole(), "adamw, one-20m (1 tensor, 20,000,000 elements, float32): step")
    lines = {line[0]: line[1:] for line in study.lines}
    assert lines["sloppy"] == ["wrong", *[""] * 9]
    assert study.notes == [f"sloppy is wrong: {REASON}"]
    assert lines["torch fused"][0] == "2.000"
    assert not any("torch fused" in note for note in study.notes)
    assert f"sloppy is wrong: {REASON}" in shown(whole())
    assert "sloppy is wrong: scenario longer: step 1 \\| params[0]: 3 \\| 4" in report.markdown(whole())


def test_where_ours_is_wrong_it_is_said():
    found = result(wrong("ours", REASON))
    assert f"ours is wrong: {REASON}" in shown(found)
    assert report.markdown(found)


def test_figures_of_a_row():
    study = block(whole(), "adamw, one-20m (1 tensor, 20,000,000 elements, float32): step")
    ours, fused, default, _ = study.lines
    named = dict(zip(study.columns, ours, strict=True))
    assert named["contestant"] == "ours (compiled)"
    assert named["ms"] == "1.000"
    assert named["± %"] == "0"
    assert named["GB/s"] == "560.0"  # 560 MB in a millisecond
    assert named["% of limit"] == "28"  # of 2 TB/s, the best stream
    assert named["ours is faster"] == ""
    # The contestants' bytes are those of ours: the fewest.
    assert dict(zip(study.columns, fused, strict=True))["GB/s"] == "280.0"
    assert [line[6:8] for line in (fused, default)] == [["1.000", "2.00×"], ["1.000", "8.00×"]]


def test_the_spread_is_half_between_the_quartiles():
    assert report.spread([1.0] * 5) == 0
    assert report.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(0.5)


def test_a_line_for_each_optimizer():
    (line,) = block(whole(), "Every optimizer").lines
    # 400 MB in 1 ms beside the yardstick's 560 MB in 2 ms.
    assert line == ["lion", "1.00", "20", "400.0", "20", "1.43", "4.0×", "–", "–", "5.0× lion-pytorch"]


def test_training_and_start_up_and_who_is_left_out():
    training = block(whole(), "A GPT")
    assert [line[0] for line in training.lines] == ["ours"]
    assert training.notes == ["apex is left out: ModuleNotFoundError: no apex"]
    assert ["import torch", "1000 ms"] in block(whole(), "Paid once").lines
    assert "Left out: apex (adamw, lion): ModuleNotFoundError: no apex" in shown(whole())
    assert "- apex (adamw, lion): ModuleNotFoundError: no apex" in report.markdown(whole())
    assert "Left out" not in report.markdown(result(row()))


@pytest.mark.parametrize("found", [whole(), result(), result(row()), result(wrong("ours", "a | b"))], ids=range(4))
def test_every_line_has_as_many_cells_as_its_table(found):
    assert uneven(report.markdown(found)) == []
    for one in report.blocks(found):
        assert {len(one.columns)} >= {len(line) for line in one.lines}


def test_a_cell_too_many_would_be_noticed():
    assert uneven("| a | b |\n| --- | --- |\n| 1 | 2 | 3 |\n\ntext") == ["| 1 | 2 | 3 |"]
    assert uneven(report.table(("a", "b"), [["1", "2"]])) == []
    assert uneven(report.table(("a", "b"), [["1", "2 | 3"]])) != []


def test_plots_are_drawn_and_are_the_same_bytes_again(tmp_path):
    drawn = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        paths = plots.draw(whole(), tmp_path / folder)
        drawn.append({path.name: path.read_bytes() for path in paths})
        assert set(paths) == set((tmp_path / folder).iterdir())
    assert drawn[0].keys() == {"speed.svg", "limit.svg", "elements.svg"}
    assert drawn[0] == drawn[1]
    assert b"adamw, one-20m, clip / fused" in drawn[0]["speed.svg"]


def test_another_result_is_another_plot(tmp_path):
    found = whole()
    (before,) = [path.read_bytes() for path in plots.draw(found, tmp_path) if path.name == "speed.svg"]
    found["rows"][1]["speed"] = 0.5
    (after,) = [path.read_bytes() for path in plots.draw(found, tmp_path) if path.name == "speed.svg"]
    assert before != after


def test_without_data_there_is_no_plot(tmp_path):
    assert plots.draw(result(), tmp_path) == []
    assert plots.draw(result(wrong("ours", REASON), wrong("torch fused", REASON)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Results, pages and plots in a folder of the test's, with one result."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "cpu-2-cores.json").write_text(json.dumps(whole()))
    (tmp_path / "results" / "thresholds-cpu-2-cores.json").write_text("no result")
    (tmp_path / "README.md").write_text(f"before\n{page.BEGIN}old figures\n{page.END}after\n")
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(page, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(page, "README", tmp_path / "README.md")
    return tmp_path


def test_a_page_has_every_result_and_its_plots(elsewhere):
    page.write()
    written = (elsewhere / "benchmarks.md").read_text()
    assert written == page.text()
    assert "## A processor" in written
    assert "2 cores, 2 threads; torch 2.13.0" in written
    assert "![" in written
    assert "images/benchmarks/cpu-2-cores/speed.svg" in written
    assert "/tensors.svg" not in written
    assert uneven(written) == []
    assert (elsewhere / "images" / "cpu-2-cores" / "speed.svg").exists()


def test_the_readmes_figures_are_put_between_the_marks(elsewhere):
    page.write()
    written = (elsewhere / "README.md").read_text()
    assert written == page.readme()
    assert written.startswith(f"before\n{page.BEGIN}A processor, 2 threads:\n")
    assert written.endswith(f"{page.END}after\n")
    assert "old figures" not in written
    assert "elements | 1.00 ms | 2.00 ms | 2.00× | 1.00 ms | 8.00 ms | 8.00× |" in written
    assert uneven(written) == []


def test_a_page_follows_its_results(elsewhere):
    page.write()
    before = page.text(), page.readme()
    found = copy.deepcopy(whole())
    for measured in found["rows"]:
        measured["seconds"] = [3e-3] * len(measured["seconds"])
    (elsewhere / "results" / "cpu-2-cores.json").write_text(json.dumps(found))
    assert page.text() != before[0]
    assert page.readme() != before[1]


def test_the_committed_page_is_what_the_committed_results_say():
    assert page.PAGE.read_text() == page.text()


def test_the_readmes_figures_are_what_the_committed_results_say():
    assert page.README.read_text() == page.readme()
