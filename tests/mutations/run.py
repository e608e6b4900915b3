"""Runs every mutation's test, in copies of the repository."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .mutation import Mutation, rewrite

REPOSITORY = Path(__file__).parents[2]
NEEDED = ("torchopt_notes", "kernels", "tests", "pyproject.toml")
TIME_LIMIT = 300

PASSED, FAILED = 0, 1
"""pytest's exit codes. Any other means that the test did not run, which proves nothing."""

Verdict = Literal["killed", "survived", "not run"]


@dataclass(frozen=True)
class Result:
    """What became of a mutation, and the line in which the test said so."""

    mutation: Mutation
    verdict: Verdict
    said: str


class VoidError(Exception):
    """The tests do not pass without a mutation either."""


@contextmanager
def copied(repository: Path = REPOSITORY) -> Iterator[Path]:
    """A copy of what the tests need, in which the package is imported from the copy as a whole."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        root = Path(folder)
        for name in NEEDED:
            if (repository / name).is_dir():
                shutil.copytree(repository / name, root / name, symlinks=True)
            else:
                shutil.copy2(repository / name, root / name)
        # An installation maps this package to kernels/; here the folder is found before that is asked.
        link = root / "torchopt_notes" / "kernels"
        if not link.is_symlink():
            link.symlink_to(Path("..", "kernels"))
        yield root


def environment(root: Path, *, interpreted: bool) -> dict[str, str]:
    """For a process that imports the copy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRITON_INTERPRET"))}
    own = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return {**kept, **own, **({"TRITON_INTERPRET": "1"} if interpreted else {})}


def run_tests(root: Path, tests: Sequence[str], *, interpreted: bool) -> subprocess.CompletedProcess[str]:
    """Runs tests of the copy at ``root``."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=short", "-o", "addopts=--strict-markers"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root,
        env=environment(root, interpreted=interpreted),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )


def complaint(output: str) -> str:
    """The first line in which a test said what is wrong."""
    found = re.search(r"^E +(.*\S)", output, re.MULTILINE)
    lines = [line for line in output.splitlines() if line.strip()]
    return found[1] if found else (lines[-1] if lines else "")


def check_without(root: Path, mutations: Sequence[Mutation]) -> None:
    """Every test passes where there is no mutation.

    Raises:
        VoidError: otherwise.
    """
    for interpreted in (False, True):
        tests = sorted({mutation.test for mutation in mutations if mutation.interpreted is interpreted})
        if not tests:
            continue
        done = run_tests(root, tests, interpreted=interpreted)
        counted = re.search(r"(\d+) passed", done.stdout)
        # One that is skipped would notice nothing.
        if done.returncode != PASSED or counted is None or int(counted[1]) != len(tests):
            raise VoidError(f"not all of these pass without a mutation:\n{done.stdout}{done.stderr}")


def try_out(root: Path, mutation: Mutation) -> Result:
    """One mutation in the copy at ``root``, which is afterwards as before."""
    source = mutation.apply(root)
    try:
        done = run_tests(root, [mutation.test], interpreted=mutation.interpreted)
    except subprocess.TimeoutExpired:
        return Result(mutation, "not run", f"not done after {TIME_LIMIT} s")
    finally:
        rewrite(root / mutation.file, source)
    if done.returncode < 0:  # a kernel that writes beyond its memory may take the process with it
        return Result(mutation, "killed", f"the process died: {signal.strsignal(-done.returncode)}")
    verdicts: dict[int, Verdict] = {PASSED: "survived", FAILED: "killed"}
    return Result(mutation, verdicts.get(done.returncode, "not run"), complaint(done.stdout + done.stderr))


def run(
    mutations: Sequence[Mutation], workers: int = 2, report: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Tries all mutations out, after the tests without any.

    Raises:
        VoidError: if a test does not pass without a mutation.
    """
    with ExitStack() as stack:
        first = stack.enter_context(copied())
        check_without(first, mutations)
        # The others take over what Python has compiled for the first one.
        others = [stack.enter_context(copied(first)) for _ in range(workers - 1)]
        roots: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for root in (first, *others):
            roots.put(root)

        def somewhere(mutation: Mutation) -> Result:
            root = roots.get()
            try:
                return try_out(root, mutation)
            finally:
                roots.put(root)

        results = []
        for result in stack.enter_context(ThreadPoolExecutor(workers)).map(somewhere, mutations):
            report(result)
            results.append(result)
    return results
