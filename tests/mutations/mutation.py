"""What a mutation is, and how it is put into a copy of the repository."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Area = Literal["rules", "engine", "kernels"]

ROOTS: dict[Area, str] = {
    "rules": "torchopt_notes/optim/",
    "engine": "torchopt_notes/engine/",
    "kernels": "kernels/",
}
"""Where the files of an area lie."""


@dataclass(frozen=True)
class Mutation:
    """A deliberate mistake, and the test that must notice it.

    Attributes:
        name: what is wrong, in a few words.
        file: relative to the repository.
        before, after: the text and what takes its place.
        test: the pytest node that must fail.
        interpreted: whether that needs kernels in Triton's interpreter.
        occurrence, of: which of how many occurrences of ``before`` is replaced, counted from 1.
    """

    name: str
    file: str
    before: str
    after: str
    test: str
    interpreted: bool = False
    occurrence: int = 1
    of: int = 1

    @property
    def area(self) -> Area:
        """The part of the package that the file belongs to."""
        return next(area for area, root in ROOTS.items() if self.file.startswith(root))

    def applied(self, source: str) -> str:
        """The file's text with the mistake in it.

        Raises:
            ValueError: if the text has changed, so that it is no longer known what is replaced.
        """
        if (found := source.count(self.before)) != self.of:
            raise ValueError(
                f"mutation {self.name!r}: {self.file} has {self.before!r} {found} times, not {self.of}; "
                "bring tests/mutations up to date"
            )
        parts = source.split(self.before)
        head, tail = parts[: self.occurrence], parts[self.occurrence :]
        return self.before.join(head) + self.after + self.before.join(tail)

    def apply(self, root: Path) -> str:
        """Puts the mistake into the copy at ``root``, and returns the file's text without it."""
        source = (root / self.file).read_text()
        rewrite(root / self.file, self.applied(source))
        return source


_STAMPS = itertools.count(1)


def rewrite(path: Path, text: str) -> None:
    """Gives a file another text, and a time that it never had.

    Python takes what it compiled for a file's own by its time in seconds and its length, and both may be as before.
    """
    path.write_text(text)
    stamp = next(_STAMPS)
    os.utime(path, (stamp, stamp))
