"""All mutations, and the page that lists them."""

from __future__ import annotations

from .engine import ENGINE
from .kernels import KERNELS
from .mutation import ROOTS, Mutation
from .rules import RULES

MUTATIONS: tuple[Mutation, ...] = (*RULES, *ENGINE, *KERNELS)

TITLES = {"rules": "Eager rules", "engine": "Engine", "kernels": "Triton kernels"}

HEAD = """# Mutations

What a test suite is worth shows when the code is wrong. Each line below is a deliberate mistake of a token or two, and
the test that notices it. `make mutations` puts them one by one into a copy of the package, runs the named test there,
and fails if it passes; before that, every test must pass without a mistake. The list is in `tests/mutations`, and
`python -m tests.mutations --page > docs/mutations.md` writes this page.
"""


def page() -> str:
    """The page ``docs/mutations.md``, without a line break at its end."""
    lines = [HEAD + f"\n{len(MUTATIONS)} mutations."]
    for area in ROOTS:
        lines += [
            "",
            f"## {TITLES[area]}",
            "",
            "| mistake | in | instead of | noticed by |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_line(mutation) for mutation in MUTATIONS if mutation.area == area]
    return "\n".join(lines)


def _line(mutation: Mutation) -> str:
    cells = (mutation.file, mutation.before, mutation.test)
    file, before, test = (f"`{cell}`".replace("|", "\\|") for cell in cells)
    return f"| {mutation.name}: `{mutation.after}` | {file} | {before} | {test} |"
