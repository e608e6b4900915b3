"""``python -m tests.conformance.page`` prints the page that is committed as ``docs/conformance.md``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.conformance.checks import CHECKS
from tests.conformance.database import DATABASE, PAIRS, WITHOUT_COUNTERPART
from tests.conformance.deviations import DEVIATIONS, TORCH, Deviation

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

INTRODUCTION = """\
# Conformance with PyTorch's contract

PyTorch ships the database over which it tests its own optimizers: what each is constructed with, which arguments it
must refuse and in which words, which schedulers and flags it supports. Here every optimizer that takes the place of one
of torch's goes through that database, and is compared with torch's at every point: the same exceptions, the same state
dicts, the same bits on the eager backend, the same numbers within rounding on the others.

```
pytest -m "not full" tests/conformance                        # eager: nearly all; compiled: one input per optimizer
pytest tests/conformance                                      # both: everything
TRITON_INTERPRET=1 pytest tests/conformance/test_backends.py  # interpreted Triton kernels: one input per optimizer
python -m tests.conformance.page > docs/conformance.md        # this page; a test fails until that is done
```
"""

INPUTS = """\
## What goes through

Inputs are the union of what torch lists for CPUs, GPUs and MPS: `capturable=True` runs on the CPU here. The eager
backend takes all of them. One, with the most arguments, stands for the others where a backend is slow: the compiled
backend takes what torch takes on the CPU, and the one alone in checks that need further compiled code (other dtypes,
`capturable`, AMP); interpreted Triton kernels take the one.
"""

CHECKED = """\
## What is checked

A cell is a check on one optimizer with one input. Every check also has a deliberately wrong optimizer that it must
catch (`tests/conformance/wrong.py`). Cells on the other backends are those of checks that can say something about them;
`SparseAdam` runs on the eager backend only.
"""

DEVIATING = """\
## Deviations

All of them, from `tests/conformance/deviations.py`. The tests consult the list: a deviation that is not in it fails,
and so does an entry that is no longer true. An entry exempts what it says of a check, and nothing else of that check.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def optimizers_of(deviation: Deviation) -> str:
    """Which optimizers an entry concerns, in words."""
    names = "all" if deviation.optimizers == ("*",) else ", ".join(f"`{name}`" for name in deviation.optimizers)
    return names + (f" but {', '.join(f'`{name}`' for name in deviation.but)}" if deviation.but else "")


def _words(name: str) -> str:
    return re.sub(r"\b(torch|rosenbrock|adam)s\b", r"\1's", name.replace("_", " "))


def text() -> str:
    """The page."""
    cells = {
        name: [cell for check in CHECKS for cell in check.cells(name) if cell.selected]
        for name in ("eager", "compiled", "triton")
    }
    deviating = [cell for cell in cells["eager"] if cell.deviation is not None]
    counts = [
        ("optimizers in torch's database", len(DATABASE)),
        ("of these with a counterpart here", len(PAIRS)),
        ("input sets", sum(len(pair.inputs) for pair in PAIRS)),
        ("inputs that must be refused", sum(len(pair.error_inputs) for pair in PAIRS)),
        ("checks, each with a negative control", len(CHECKS)),
        ("cells on the eager backend", f"{len(cells['eager']):,}"),
        ("cells on the compiled backend", f"{len(cells['compiled']):,}"),
        ("cells on interpreted Triton kernels", f"{len(cells['triton']):,}"),
        ("deviations, and the cells on the eager backend that they concern", f"{len(DEVIATIONS)}, {len(deviating)}"),
    ]
    entries = {pair.name: pair for pair in PAIRS}
    optimizers = []
    for info in DATABASE:
        name = info.optim_cls.__name__
        if (pair := entries.get(name)) is None:
            optimizers.append((f"`{name}`", "none", "", f"not there: {WITHOUT_COUNTERPART[name]}"))
        else:
            number, refused = len(pair.inputs), len(pair.error_inputs)
            optimizers.append((f"`{name}`", number, refused, pair.representative.name))
    checks = []
    for check in CHECKS:
        everywhere = "all" if check.everywhere else "eager"
        checks.append((_words(check.name), check.holds.replace("``", "`"), len(list(check.cells("eager"))), everywhere))
    rows = [(optimizers_of(entry), entry.torch, entry.ours, entry.reason) for entry in DEVIATIONS]
    return "\n".join(
        [
            INTRODUCTION,
            table((f"torch {TORCH}x", ""), counts),
            INPUTS,
            table(("", "input sets", "refused", "the one that stands for the others"), optimizers),
            CHECKED,
            table(("check", "what holds", "cells", "backends"), checks),
            DEVIATING,
            table(("", "torch", "here", "why"), rows).rstrip("\n") + "\n",
        ]
    )


if __name__ == "__main__":
    print(text(), end="")
