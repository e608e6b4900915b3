"""What a user sees before the first step: imports, public names, executed examples."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import torchopt_notes

ROOT = Path(__file__).parent.parent

IMPORTS = """
import sys, torch
before = set(sys.modules)
import torchopt_notes{then}
added = set(sys.modules) - before
print(any(name.split(".")[0] == "triton" or "_dynamo" in name or "_inductor" in name for name in added))
"""


@pytest.mark.parametrize(
    ("then", "loaded"), [("", "False"), ("; import torch._dynamo", "True")], ids=["ours", "control"]
)
def test_the_import_loads_neither_triton_nor_the_compiler(then, loaded):
    command = [sys.executable, "-c", IMPORTS.format(then=then)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == loaded


MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(torchopt_notes.__path__, "torchopt_notes.")
    if "__main__" not in name and ".kernels" not in name and ".demo" not in name
]


@pytest.mark.parametrize("name", ["torchopt_notes", *MODULES])
def test_docstring_examples(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_every_optimizer_has_an_executed_example():
    finder = doctest.DocTestFinder(recurse=False)
    for name in torchopt_notes.__all__:
        if name != "Optimizer":
            assert any(test.examples for test in finder.find(getattr(torchopt_notes, name), name))


def test_the_readme_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_every_schedule_and_scheduler_has_an_executed_example():
    finder = doctest.DocTestFinder(recurse=False)
    for module in (torchopt_notes.schedules, torchopt_notes.lr_scheduler):
        for name in set(module.__all__) - {"LRScheduler", "RangeTest"}:
            assert any(test.examples for test in finder.find(getattr(module, name), name)), name


def test_what_is_loaded_when_asked_for_is_listed():
    assert {"schedules", "lr_scheduler"} <= set(dir(torchopt_notes))
    with pytest.raises(AttributeError, match="has no attribute 'scheduler'"):
        _ = torchopt_notes.scheduler


@pytest.mark.parametrize("page", ["gradients.md", "groups.md", "parity.md", "schedules.md"])
def test_the_examples_in_the_docs_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
