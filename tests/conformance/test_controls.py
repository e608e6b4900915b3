"""The checks can fail, the list of deviations is true, and no entry of torch's database is left out."""

import dataclasses

import pytest
import torch

from tests.conformance import deviations, harness, page, wrong
from tests.conformance.checks import CHECKS
from tests.conformance.database import DATABASE, MISSING, PAIRS, WITHOUT_COUNTERPART
from tests.conformance.deviations import DEVIATIONS, TORCH
from tests.conformance.harness import FAILURES
from torchopt_notes.optim.registry import optimizers

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
this_release = pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"the list is about torch {TORCH}x")


def caught(cell, by=FAILURES):
    """Whether the wrong form of an optimizer fails the cell."""
    try:
        cell.run(cell.check.wrong(cell.pair.ours))
    except by:
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
    changed = [dataclasses.replace(entry, shows=("nothing of the kind",)) for entry in DEVIATIONS]
    monkeypatch.setattr(deviations, "DEVIATIONS", tuple(changed))
    with pytest.raises(FAILURES, match="deviates otherwise"):
        next(c for c in check.cells("eager") if c.given.name == cell.given.name and c.pair is cell.pair).run()


def deviating(deviation):
    """The cells on the eager backend that an entry is about."""
    return [cell for check in CHECKS for cell in check.cells("eager") if cell.deviation is deviation]


every_deviation = pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda entry: f"{entry.check}-{entry.cases}")


@this_release
@every_deviation
def test_a_deviation_hides_no_wrong_optimizer(deviation):
    found = [cell for cell in deviating(deviation) if cell.representative]
    assert found
    # Where a wrong optimizer breaks, rather than to give another result, it is not hidden either.
    assert [cell for cell in found if not caught(cell, (*FAILURES, Exception))] == []


# What is wrong in other parts of these checks than those that are exempt.
OTHERWISE = {
    "error_inputs_raise_what_torch_raises": wrong.refuses_with_other_words,
    "a_tensor_for_a_learning_rate_takes_torchs_steps": wrong.drifts,
    "older_ones_load": wrong.drifts,
    "states_get_the_parameters_dtype_as_in_torch": wrong.loads_other_values,
}


@this_release
@pytest.mark.parametrize("name", OTHERWISE)
def test_a_deviation_hides_nothing_else(name):
    found = [cell for entry in DEVIATIONS if entry.check == name for cell in deviating(entry) if cell.representative]
    assert found
    for cell in found:
        with pytest.raises(FAILURES, match="deviates otherwise"):
            cell.run(OTHERWISE[name](cell.pair.ours))


@this_release
@every_deviation
def test_every_deviation_is_looked_for(deviation):
    assert deviating(deviation)
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
