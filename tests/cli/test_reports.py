"""What the JSON and the page hold, and that docs/parity-table.md is the page of what a survey runs today."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from torchopt_notes.testing import Histogram, Outcome
from torchopt_notes.testing import plan as planning
from torchopt_notes.testing.reports import COLUMNS, SAME_RULE, as_json, compared, figures, page, passed
from torchopt_notes.testing.survey import Job, Result, cells, run
from torchopt_notes.testing.trials import OurCase

TABLE = Path(__file__).parent.parent.parent / "docs" / "parity-table.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (\w+) \|.*\| ([\w ]+) \|$", re.MULTILINE)


@pytest.fixture
def jobs(monkeypatch):
    """What a survey with every backend runs, Triton's in its interpreter: what the page is written from."""
    monkeypatch.setattr(planning, "missing_backends", lambda device: {})
    monkeypatch.setattr(planning, "interpreted", lambda: True)
    return planning.plan()


def differences(text, jobs):
    """What a page lacks, what it has beyond the jobs, and its rows that failed."""
    rows = ROW.findall(text)
    found = Counter(row[:3] for row in rows)
    wanted = {(job.subject.optimizer, job.backend, job.dtype) for job in jobs}
    return {
        "lacks": sorted(wanted - found.keys()),
        "beyond": sorted(found.keys() - wanted),
        "twice": [row for row, count in found.items() if count > 1],
        "failed": [row for row in rows if row[3] == "failed"],
    }


NO_DIFFERENCES = {"lacks": [], "beyond": [], "twice": [], "failed": []}


def test_the_table_is_of_what_a_survey_runs_today(jobs):
    text = TABLE.read_text()
    assert differences(text, jobs) == NO_DIFFERENCES, "make docs writes it anew"
    counted = re.search(r": (\d+) cells, (\d+) cases in them", text)
    assert [int(number) for number in counted.groups()] == [len(ROW.findall(text)), len(jobs)], "make docs"


def test_a_table_that_is_not_is_noticed(jobs):
    lines = TABLE.read_text().splitlines()
    lions = [line for line in lines if line.startswith("| `Lion`")]
    assert len(lions) == 8
    missing = "\n".join(line for line in lines if line not in lions)
    assert {row[0] for row in differences(missing, jobs)["lacks"]} == {"Lion"}
    assert len(differences(missing, jobs)["lacks"]) == len(lions)
    unknown = "\n".join([*lines, lions[0].replace("Lion", "Tiger"), lions[0]])
    found = differences(unknown, jobs)
    assert (found["beyond"], found["twice"]) == ([("Tiger", "eager", "fp32")], [("Lion", "eager", "fp32")])
    failed = "\n".join(lines).replace(lions[0], re.sub(r"[\w ]+ \|$", " failed |", lions[0]))
    assert [row[0] for row in differences(failed, jobs)["failed"]] == ["Lion"]


def test_the_table_says_what_a_page_says():
    written = page([result(Outcome("shapes", "same"))], [])
    for text in (written, TABLE.read_text()):
        assert f"\n\n{SAME_RULE}\n\n" in text
        for title, about in COLUMNS:
            assert f"\n- **{title}**: {about}.\n" in text
    named = re.findall(r"test_\w+\.py", SAME_RULE)
    assert len(named) == 3
    assert all((TABLE.parent.parent / "tests" / "optim" / name).is_file() for name in named)


def job(case="adam", dtype="fp32"):
    return Job(OurCase(case), "eager", dtype, scenarios=("shapes", "sparse-gradients"))


def result(*outcomes, against="torch.optim.Adam", case="adam", dtype="fp32"):
    return Result(job(case, dtype), against, outcomes)


def written(*results):
    """As it is read from a file."""
    return json.loads(json.dumps(as_json(results, [], 1.0, 1), allow_nan=False))


def test_an_outcome_has_its_distances():
    bounded, exact = run(job(dtype="bf16")), run(job())
    for found, result_ in zip(written(bounded, exact)["cells"][::-1], (bounded, exact), strict=True):
        outcomes = found["cases"][0]["outcomes"]
        assert [outcome["histogram"] for outcome in outcomes] == [list(o.histogram.counts) for o in result_.outcomes]
        assert [sum(outcome["histogram"]) > 0 for outcome in outcomes] == [True, False]
        assert [outcome["max_ulp"] for outcome in outcomes] == [result_.outcomes[0].histogram.largest, None]
    of_exact, of_bounded = (cell["cases"][0]["outcomes"] for cell in written(bounded, exact)["cells"])
    first = bounded.outcomes[0]
    assert 0 < first.error < first.reference_error
    assert [(o["error"], o["reference_error"]) for o in of_bounded] == [
        (first.error, first.reference_error),
        (None, None),  # both refuse sparse gradients
    ]
    assert [(o["error"], o["reference_error"]) for o in of_exact] == [(None, None)] * 2


def test_float64_has_no_error_of_its_own():
    (cell,) = written(run(job("lion")))["cells"]
    outcome = cell["cases"][0]["outcomes"][0]
    assert outcome["error"] > 0
    assert outcome["reference_error"] is None


def test_what_was_not_compared_has_no_error():
    silent = run(Job(OurCase("adam"), "eager", "bf16", scenarios=("sparse-gradients",)))
    assert silent.error == 0
    (cell,) = written(silent)["cells"]
    for found in (cell, cell["cases"][0]):
        assert found["error"] is None
    assert cell["error_ratio"] is cell["cases"][0]["reference_error"] is None
    assert figures(cells([silent])[0])[:3] == ("–", "–", "–")


def test_infinities_are_not_what_was_not_measured():
    counts = (1, 0, 0, 0, 0, 0, 0, 1)
    outcome = Outcome(
        "shapes", "same", histogram=Histogram(counts, math.inf), error=math.nan, reference_error=-math.inf
    )
    (cell,) = written(result(outcome, dtype="bf16"))["cells"]
    found = cell["cases"][0]["outcomes"][0]
    assert (found["max_ulp"], found["error"], found["reference_error"]) == ("inf", None, "-inf")
    assert (cell["max_ulp"], cell["error"]) == ("inf", None)


@pytest.mark.parametrize(
    ("verdicts", "something", "fine"),
    [
        (["same"], True, True),
        (["refused", "same"], True, True),
        (["refused", "explained"], True, True),
        (["skipped", "failed"], True, False),
        (["refused", "skipped"], False, False),
        ([], False, False),
    ],
)
def test_what_was_refused_or_skipped_was_not_compared(verdicts, something, fine):
    results = [result(*(Outcome("shapes", verdict) for verdict in verdicts))]
    assert (compared(results), passed(results, [])) == (something, fine)
    assert written(*results)["passed"] is fine
