"""The page of schedules is what its script writes."""

import re
import runpy
from pathlib import Path

import matplotlib
import pytest

from torchopt_notes import schedules

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "schedules.py"))
ENTRIES = SCRIPT["ENTRIES"]


def test_the_table_is_up_to_date():
    page = (DOCS / "schedules.md").read_text()
    assert SCRIPT["page"](page) == page
    assert SCRIPT["page"](page.replace("step decay:", "")) != page.replace("step decay:", "")


def test_every_schedule_is_on_the_page():
    functions = {
        name
        for name in schedules.__all__
        if isinstance(getattr(schedules, name), type) and issubclass(getattr(schedules, name), schedules.Schedule)
    } - {"Schedule"}
    shown = set(re.findall(r"[a-z_]+(?=\()", " ".join(entry.expression for entry in ENTRIES)))
    assert functions <= shown
    assert {"clip", "repeat", "stretch", "until"} <= shown


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.expression)
def test_the_plots_are_up_to_date(entry, tmp_path):
    committed = entry.image.read_text()
    assert "<svg" in committed
    if f"Matplotlib v{matplotlib.__version__}," not in committed:
        pytest.skip("drawn with another matplotlib, which need not write the same bytes")
    SCRIPT["draw"](entry, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text() == committed


def test_another_plot_is_noticed(tmp_path):
    SCRIPT["draw"](ENTRIES[0], tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text() != ENTRIES[1].image.read_text()
