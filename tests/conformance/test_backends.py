"""The same checks on the backends that are not the reference: every optimizer, fewer inputs (:class:`.Cell`)."""

import pytest

from tests.backends import HERE, backend
from tests.conformance.checks import CHECKS

FAST = [name for name in HERE if name != "eager"]


def cells():
    for name in FAST:
        for check in CHECKS:
            for cell in check.cells(name):
                if cell.selected:
                    marks = [*backend(name).marks, *([] if cell.quick else [pytest.mark.full])]
                    yield pytest.param(cell, id=f"{name}-{check.name}-{cell.pair.name}-{cell.given.name}", marks=marks)


@pytest.mark.parametrize("cell", list(cells()))
def test_the_contract_holds_on_the_fast_backends(cell):
    cell.run()
