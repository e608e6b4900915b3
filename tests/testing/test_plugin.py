"""The pytest plugin in projects of its own, and the example under docs/ as it stands there and broken."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

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


MARKED = "@pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD, scenarios='shapes')\n"
NOTHING_COMPARED = [
    ("def test_it(parity): pass", ["never calls it, so nothing was compared; call parity(MyAdamW, "]),
    (MARKED + "def test_it(parity): pass", ["never calls it, so nothing was compared; call parity()"]),
    ("def test_it(parity): parity(Wrong)", ["needs a candidate and a reference, and has no reference; write"]),
    ("def test_it(parity): parity()", ["needs a candidate and a reference, and has neither; write"]),
    ("def test_it(parity): parity(torchopt_notes.Lion, FLOAT64)", ["say how far it may be, such as ulp=2"]),
    ("def test_it(parity): parity(Wrong, 'SGD', ulp=2)", ["got 'SGD'; give the class itself, not its name"]),
    ("def test_it(parity): parity('mine:SGD', Wrong)", ["got 'mine:SGD'; give the class itself, not its name"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, dtype='fp32')", ["dtype must be one of", "got 'fp32'"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, dtype=[torch.int32])", ["dtype must be one of", "int32"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, dtype=[])", ["dtype is empty, so nothing would be"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, scenarios=[])", ["scenarios is empty, so nothing"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, scenarios=5)", ["must be a name, or a list", "got 5"]),
    ("def test_it(parity): parity(Wrong, torch.optim.SGD, kwargs={'rate': 1})", ["argument 'rate'"]),
    (MARKED + "def test_it(): pass", ["compares nothing unless the test takes `parity` and calls it"]),
    (
        "@pytest.mark.parity(Wrong, kwargs=SGD)\ndef test_it(parity): parity()",
        ["@pytest.mark.parity: it needs a candidate and a reference, and has no reference"],
    ),
    (
        "@pytest.mark.parity(candidate=Wrong)\ndef test_it(parity): parity()",
        ["needs a candidate and a reference, and has no reference"],
    ),
    ("@pytest.mark.parity()\ndef test_it(parity): parity()", ["a candidate and a reference, and has neither"]),
    ("@pytest.mark.parity\ndef test_it(parity): parity()", ["a candidate and a reference, and has neither"]),
    (
        "@pytest.mark.parity(Wrong, 'SGD')\ndef test_it(parity): parity()",
        ["the reference must be an optimizer class such as torch.optim.Adam, or torchopt_notes.testing.FLOAT64,"],
    ),
    (
        "@pytest.mark.parity('mine:SGD', torch.optim.SGD)\ndef test_it(parity): parity()",
        ["got 'mine:SGD'; give the class itself, not its name"],
    ),
    (
        "@pytest.mark.parity('mine:SGD', torch.optim.SGD)\ndef test_it(): pass",
        ["compares nothing unless the test takes `parity`"],
    ),
    (
        "@pytest.mark.parity(Wrong, torch.optim.SGD, dtype='fp32')\ndef test_it(parity): parity()",
        ["dtype must be one of", "got 'fp32'"],
    ),
    (
        "@pytest.mark.parity(Wrong, torch.optim.SGD, dtype=[])\ndef test_it(parity): parity()",
        ["dtype is empty, so nothing would be compared; leave it out for torch.float32"],
    ),
    (
        "@pytest.mark.parity(Wrong, torch.optim.SGD, scenarios=[])\ndef test_it(parity): parity()",
        ["scenarios is empty, so nothing would be compared; leave it out for all"],
    ),
    (
        "@pytest.mark.parity(Wrong, torch.optim.SGD, scenarios='shape')\ndef test_it(parity): parity()",
        ["no scenario is called 'shape'"],
    ),
    (
        "@pytest.mark.parity(Wrong, torch.optim.SGD, tolerance=1)\ndef test_it(parity): parity()",
        ["unexpected keyword argument 'tolerance'; it is parity(candidate, reference, *, kwargs=None"],
    ),
    (
        MARKED + "def test_it(parity): parity(Wrong, torch.optim.SGD)",
        ["takes no others; it was given Wrong, SGD: move that into the marker"],
    ),
    (
        MARKED + "def test_it(parity): parity(ulp=0, scenarios='shapes')",
        ["takes no others; it was given ulp=0, scenarios='shapes'"],
    ),
    (
        "import unittest\nclass TestIt(unittest.TestCase):\n"
        "    @pytest.fixture(autouse=True)\n    def _take(self, parity): self.parity = parity\n"
        "    @pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD)\n    def test_it(self): self.parity()",
        ["which methods of unittest.TestCase cannot be; call parity(MyAdamW"],
    ),
    (
        "import unittest\nclass TestIt(unittest.TestCase):\n"
        "    @pytest.fixture(autouse=True)\n    def _take(self, parity): self.parity = parity\n"
        "    def test_it(self): pass",
        ["never calls it, so nothing was compared"],
    ),
]
"""Tests, and what each must be told."""


@pytest.fixture(scope="module")
def nothing_compared(tmp_path_factory):
    """What becomes of all of them in one run: for each, tags and texts of what was reported, in order."""
    folder = tmp_path_factory.mktemp("nothing-compared")
    sources = [
        source.replace("test_it", f"test_{index}_").replace("TestIt", f"TestIt{index}")
        for index, (source, _) in enumerate(NOTHING_COMPARED)
    ]
    (folder / "test_nothing.py").write_text("\n\n".join([HEAD, *sources, "def test_other(): pass\n"]))
    in_a_process("-m", "pytest", "-p", "no:cacheprovider", "--junitxml", "found.xml", cwd=folder)
    found = {}
    for case in ElementTree.parse(folder / "found.xml").iter("testcase"):
        reported = [(child.tag, child.get("message") + child.text) for child in case]
        found.setdefault(case.get("name").partition("[")[0], []).append(reported)
    return found


@pytest.mark.parametrize("index", range(len(NOTHING_COMPARED)))
def test_a_test_that_compares_nothing_fails_once(nothing_compared, index):
    # Neither skipped nor an error of the collection, of a fixture or of its end, and not several tests.
    (reported,) = nothing_compared[f"test_{index}_"]
    ((tag, text),) = reported
    assert tag == "failure"
    for message in NOTHING_COMPARED[index][1]:
        assert message in text
    assert "_multicall" not in text  # no traceback through pytest itself


def test_others_run_next_to_tests_that_compare_nothing(nothing_compared):
    assert nothing_compared["test_other"] == [[]]
    assert len(nothing_compared) == len(NOTHING_COMPARED) + 1


@pytest.mark.parametrize("marker", ["", MARKED], ids=["bare", "marked"])
@pytest.mark.parametrize(
    ("body", "outcome"), [("assert 1 == 2", "failed"), ("pytest.skip('not today')", "skipped")], ids=["fails", "skips"]
)
def test_what_ends_before_the_call_is_said_once(project, marker, body, outcome):
    result = project(f"{marker}def test_it(parity):\n    {body}\n    parity()")
    assert result.parseoutcomes() == {outcome: 1}
    assert "never calls it" not in result.stdout.str()


def test_two_markers_are_two_comparisons(project):
    result = project(
        """
@pytest.mark.parity(torchopt_notes.SGD, torch.optim.SGD, kwargs=SGD, scenarios="groups")
@pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD, scenarios=["shapes", "groups"])
def test_it(parity):
    parity()

@pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD, scenarios="groups")
class TestWrong:
    @pytest.mark.parity(Wrong, torch.optim.SGD, kwargs=SGD, scenarios="shapes")
    def test_it(self, parity):
        parity()
""",
        "-v",
    )
    assert result.parseoutcomes() == {"passed": 3, "failed": 2}
    for line in (
        "*::test_it?Wrong-shapes? PASSED*",
        "*::test_it?Wrong-groups? FAILED*",
        "*::test_it?SGD-groups? PASSED*",
        "*TestWrong::test_it?Wrong1-shapes? PASSED*",
        "*TestWrong::test_it?Wrong2-groups? FAILED*",
    ):
        result.stdout.fnmatch_lines_random(line)


def test_a_candidate_with_the_references_name_is_told_apart(project, pytester):
    pytester.makepyfile(mine="import torch\nclass SGD(torch.optim.SGD):\n    def step(self): pass\n")
    result = project(
        """
import functools, mine
def test_class(parity):
    parity(mine.SGD, torch.optim.SGD, kwargs=SGD, scenarios="shapes")
def test_ours(parity):
    parity(functools.partial(mine.SGD, nesterov=False), torchopt_notes.SGD, kwargs=SGD, scenarios="shapes")
"""
    )
    assert result.parseoutcomes() == {"failed": 2}
    result.stdout.fnmatch_lines(["mine.SGD is not torch.optim.SGD", "mine.SGD is not torchopt_notes.*.SGD"])


def test_another_projects_marker_of_that_name_is_left_alone(project, pytester):
    result = project('@pytest.mark.parity("even")\ndef test_it(): pass')
    assert result.parseoutcomes() == {"passed": 1}


def test_another_projects_fixture_of_that_name_is_left_alone(project):
    result = project(
        """
@pytest.fixture
def parity():
    return "even"
@pytest.mark.parity
def test_it(parity):
    assert parity == "even"
"""
    )
    assert result.parseoutcomes() == {"passed": 1}


def test_a_marker_that_says_nothing_warns_unless_somebody_else_has_registered_it(project, pytester):
    source = "@pytest.mark.parity\ndef test_it(): pass"
    result = project(source)
    assert result.parseoutcomes() == {"passed": 1, "warnings": 1}
    result.stdout.fnmatch_lines(["*parity without arguments compares nothing; write @pytest.mark.parity(MyAdamW, *"])
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nmarkers = parity: even or odd\n")
    assert project(source).parseoutcomes() == {"passed": 1}


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
    assert re.search(r"\d+ passed, 4 skipped", done.stdout)


def test_the_example_broken_by_one_token_fails_and_says_where(tmp_path):
    folder = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    module = folder / "my_optimizer.py"
    right = module.read_text()
    module.write_text(right.replace("(1 - beta2**step) ** 0.5", "(1 - beta1**step) ** 0.5"))
    assert module.read_text() != right
    done = in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "groups and float32", cwd=folder)
    assert done.returncode == 1
    assert re.search(r"scenario groups, float32: step 1, params\[\d\]\[[\d, ]+\]: got .* ulp", done.stdout), done.stdout
