"""The pytest plugin in projects of its own, and the example under docs/ as it stands there and broken."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import torchopt_notes
from torchopt_notes import testing
from torchopt_notes.testing import FLOAT64, compare

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "pin-your-optimizer"

HEAD = """
import pytest, torch
from torchopt_notes.testing import FLOAT64
import torchopt_notes

class Wrong(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        return super().step(closure)

SGD = {"lr": 0.1}
"""


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    # pytester forgets what was imported after it began, and parts of torch cannot be imported twice.
    for optimizer in (torchopt_notes.Adam, torchopt_notes.Lion):
        compare(optimizer, optimizer.counterpart or FLOAT64, scenarios=["shapes", "sparse-gradients"], ulp=2)


@pytest.fixture
def project(pytester):
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")

    def run(source, *arguments):
        pytester.makepyfile(HEAD + source)
        return pytester.runpytest_inprocess(*arguments)

    return run


def test_a_marker_makes_one_test_for_each_scenario_and_dtype(project):
    result = project(
        """
@pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD, scenarios=["shapes", "groups"],
                    dtype=[torch.float32, torch.float64])
def test_it(parity):
    parity()
""",
        "-v",
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*test_it?shapes-float32? PASSED*", "*test_it?groups-float64? FAILED*"])
    result.stdout.fnmatch_lines(["Wrong is not torch.optim.SGD", "scenario groups, float32: step 1, params?1??*ulp*"])


def test_without_a_marker_all_scenarios_are_one_test(project):
    result = project(
        """
def test_right(parity):
    outcomes = parity(torchopt_notes.SGD, torch.optim.SGD, kwargs=SGD)
    assert len(outcomes) > 20
def test_wrong(parity):
    parity(Wrong, torch.optim.SGD, kwargs=SGD)
def test_float64(parity):
    parity(torchopt_notes.Lion, FLOAT64, scenarios="shapes", ulp=2)
"""
    )
    result.assert_outcomes(passed=2, failed=1)


def test_one_dtype_needs_no_name_in_the_id(project):
    result = project(
        """
@pytest.mark.parity(torchopt_notes.SGD, torch.optim.SGD, kwargs=SGD, scenarios="schedule", dtype=torch.float64)
def test_it(parity):
    parity()
""",
        "-v",
    )
    result.stdout.fnmatch_lines(["*test_it?schedule? PASSED*"])


def test_what_says_nothing_is_skipped_with_the_reason(project):
    result = project(
        """
@pytest.mark.parity(torchopt_notes.Adam, torch.optim.Adam, scenarios="sparse*")
def test_it(parity):
    parity()
""",
        "-rs",
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*refused: *sparse gradients*"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def test_it(parity): pass", "never calls it, so nothing was compared"),
        ("def test_it(parity): parity(Wrong)", "needs a candidate and a reference"),
        ("def test_it(parity): parity(torchopt_notes.Lion, FLOAT64)", "say how far it may be, such as ulp=2"),
        ("@pytest.mark.parity(Wrong, torch.optim.SGD)\ndef test_it(): pass", "compares nothing unless the test takes"),
        ("@pytest.mark.parity(candidate=Wrong)\ndef test_it(parity): parity()", "needs a candidate and a reference"),
        (
            "@pytest.mark.parity(Wrong, torch.optim.SGD, scenarios='shape')\ndef test_it(parity): parity()",
            "no scenario is called 'shape'",
        ),
        (
            "@pytest.mark.parity(Wrong, torch.optim.SGD, tolerance=1)\ndef test_it(parity): parity()",
            "unexpected keyword argument 'tolerance'",
        ),
        (
            "@pytest.mark.parity(Wrong, torch.optim.SGD, scenarios='shapes')\n"
            "def test_it(parity): parity(Wrong, torch.optim.SGD)",
            "takes no others",
        ),
    ],
)
def test_a_test_that_compares_nothing_does_not_pass(project, source, message):
    result = project(source)
    assert result.ret != 0
    assert message in result.stdout.str() + result.stderr.str()


def test_another_projects_marker_of_that_name_is_left_alone(project, pytester):
    result = project('@pytest.mark.parity("even")\ndef test_it(): pass')
    result.assert_outcomes(passed=1)


def in_a_process(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL
    )


def test_the_plugin_and_the_packages_load_nothing_until_asked():
    code = "import sys, torchopt_notes.testing.plugin; print({'torch', 'numpy', 'rich'} & set(sys.modules))"
    assert in_a_process("-c", code).stdout.strip() == "set()"
    control = code.replace("; print", "; torchopt_notes.AdamW; print")
    assert "torch" in in_a_process("-c", control).stdout


def test_everything_public_loads_neither_triton_nor_the_compiler():
    code = (
        "import sys, torch; before = set(sys.modules); from torchopt_notes import *; "
        "print([n for n in set(sys.modules) - before if n.split('.')[0] == 'triton' or {'_dynamo', '_inductor'} & "
        "set(n.split('.'))])"
    )
    assert in_a_process("-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("package", [torchopt_notes, testing], ids=lambda package: package.__name__)
def test_what_editors_see_is_what_is_loaded(package):
    tree = ast.parse(Path(package.__file__).read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    homes = ast.literal_eval(call.args[1])
    submodules = {name for name, module in seen.items() if module is None}
    assert {name: home for home, names in homes.items() for name in names} == {
        name: module for name, module in seen.items() if module is not None
    }
    assert set(package.__all__) == seen.keys() - submodules
    assert set(package.__all__) | submodules <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_the_example_passes_as_it_stands(tmp_path):
    folder = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    done = in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed, 2 skipped", done.stdout)


def test_the_example_broken_by_one_token_fails_and_says_where(tmp_path):
    folder = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    module = folder / "my_optimizer.py"
    right = module.read_text()
    module.write_text(right.replace("(1 - beta2**step) ** 0.5", "(1 - beta1**step) ** 0.5"))
    assert module.read_text() != right
    done = in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "groups and float32", cwd=folder)
    assert done.returncode == 1
    assert re.search(r"scenario groups, float32: step 1, params\[\d\]\[[\d, ]+\]: got .* ulp", done.stdout), done.stdout
