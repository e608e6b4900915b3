"""The checks can fail, the list of deviations is true, and no entry of torch's database is left out."""

import dataclasses

import pytest
import torch

from tests.conformance import deviations, harness, page
from tests.conformance.checks import CHECKS
from tests.conformance.database import DATABASE, MISSING, PAIRS, WITHOUT_COUNTERPART
from tests.conformance.deviations import DEVIATIONS, TORCH
from tests.conformance.harness import FAILURES
from torchopt_notes.optim.registry import optimizers

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
this_release = pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"the list is about torch {TORCH}x")


def caught(cell):
    """Whether the wrong form of an optimizer fails the cell."""
    try:
        cell.run(cell.check.wrong(cell.pair.ours))
    except FAILURES:
        return True
    return False


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_wrong_optimizer_is_caught(check):
    assert any(caught(cell) for cell in check.cells("eager") if cell.representative)


def passing_cell():
    return next(cell for check in CHECKS for cell in check.cells("eager") if cell.deviation is None)


@this_release
def test_a_deviation_that_no_longer_occurs_fails(monkeypatch):
    cell = passing_cell()
    cell.run()
    listed = dataclasses.replace(DEVIATIONS[0], check=cell.check.name, cases="*", optimizers=("*",))
    monkeypatch.setattr(deviations, "DEVIATIONS", (listed,))
    with pytest.raises(FAILURES, match="no longer deviates"):
        dataclasses.replace(cell).run()


def test_another_deviation_than_the_listed_one_fails(monkeypatch):
    check, cell = next((check, cell) for check in CHECKS for cell in check.cells("eager") if cell.deviation is not None)
    changed = [dataclasses.replace(entry, shows="nothing of the kind") for entry in DEVIATIONS]
    monkeypatch.setattr(deviations, "DEVIATIONS", tuple(changed))
    with pytest.raises(FAILURES, match="deviates otherwise"):
        next(c for c in check.cells("eager") if c.given.name == cell.given.name and c.pair is cell.pair).run()


@this_release
@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda entry: f"{entry.check}-{entry.cases}")
def test_every_deviation_is_looked_for(deviation):
    found = [cell for check in CHECKS for cell in check.cells("eager") if cell.deviation is deviation]
    assert found
    named = {name for name in deviation.optimizers if name != "*"} | set(deviation.but)
    assert named <= {pair.name for pair in PAIRS}


def test_every_optimizer_of_torchs_database_has_a_counterpart_or_a_reason():
    names = {info.optim_cls.__name__ for info in DATABASE}
    assert names - {pair.name for pair in PAIRS} <= WITHOUT_COUNTERPART.keys()
    assert not WITHOUT_COUNTERPART.keys() & {pair.name for pair in PAIRS}


def test_every_class_that_takes_the_place_of_torchs_is_checked():
    expected = {cls for cls in optimizers().values() if cls.counterpart is not None}
    assert {pair.ours for pair in PAIRS} == expected
    assert all(pair.name == pair.theirs.__name__ for pair in PAIRS)


def test_every_check_says_what_holds():
    assert all(check.holds.endswith(".") for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_representative_inputs_are_torchs():
    assert all(pair.representative in pair.inputs for pair in PAIRS)
    assert harness.NOT_TORCHS


@this_release
def test_the_page_is_up_to_date():
    assert page.PAGE.read_text() == page.text(), "python -m tests.conformance.page > docs/conformance.md"
