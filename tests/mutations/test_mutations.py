"""The list of mutations: up to date, spread over the package, and every one of them noticed."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .__main__ import main
from .catalogue import MUTATIONS, page
from .mutation import ROOTS, Mutation
from .run import REPOSITORY, VoidError, copied, environment, run

EACH = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)

UNSEEN = Mutation(
    "a message that no test reads",
    "torchopt_notes/optim/registry.py",
    "unknown optimizer {name!r}",
    "strange optimizer {name!r}",
    "tests/optim/test_bitwise.py::test_the_comparison_can_fail",
)


@EACH
def test_the_text_is_still_there(mutation):
    source = (REPOSITORY / mutation.file).read_text()
    mutated = mutation.applied(source)
    assert mutated != source
    ast.parse(mutated)


@EACH
def test_the_killing_test_is_still_there(mutation):
    file, _, node = mutation.test.partition("::")
    functions = [item.name for item in ast.parse((REPOSITORY / file).read_text()).body if hasattr(item, "name")]
    assert node.partition("[")[0] in functions


def test_every_area_has_its_share():
    areas = Counter(mutation.area for mutation in MUTATIONS)
    assert areas.keys() == ROOTS.keys()
    assert min(areas.values()) >= 10
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_text_that_has_changed_is_refused():
    mutation = Mutation("gone", "kernels/adam.py", "no such text", "", "")
    with pytest.raises(ValueError, match="0 times, not 1"):
        mutation.applied("something else")
    assert Mutation("second", "kernels/adam.py", "a", "b", "", occurrence=2, of=3).applied("a a a") == "a b a"


def test_the_committed_page_is_what_the_command_prints():
    path = REPOSITORY / "docs" / "mutations.md"
    assert path.read_text() == page() + "\n", "python -m tests.mutations --page > docs/mutations.md"


def test_the_copy_is_imported_as_a_whole():
    names = ("torchopt_notes", "torchopt_notes.kernels", "tests.mutations")
    code = f"import importlib; print(*[importlib.import_module(name).__path__[0] for name in {names}])"
    with copied() as first, copied(first) as root:
        for folder in (first, root):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=folder,
                env=environment(folder, interpreted=False),
                capture_output=True,
                text=True,
                check=True,
            )
            paths = [Path(path).resolve() for path in done.stdout.split()]
            assert all(path.is_relative_to(folder.resolve()) for path in paths)


@pytest.mark.full
def test_every_mutation_is_killed():
    assert main([]) == 0


@pytest.mark.full
def test_a_survivor_is_reported(monkeypatch, capsys):
    monkeypatch.setattr("tests.mutations.__main__.MUTATIONS", (UNSEEN,))
    assert main(["--workers", "1"]) == 1
    assert "survived" in capsys.readouterr().out


@pytest.mark.full
def test_a_test_that_fails_without_a_mutation_makes_the_check_void():
    missing = Mutation(UNSEEN.name, UNSEEN.file, UNSEEN.before, UNSEEN.after, "tests/optim/test_bitwise.py::test_none")
    with pytest.raises(VoidError):
        run([missing], workers=1)
