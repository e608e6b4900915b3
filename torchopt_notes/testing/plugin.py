"""The pytest plugin: ``@pytest.mark.parity`` and the fixture ``parity`` pin a project's optimizer to a reference.

pytest imports this in every run of an environment that has the package, so neither torch nor the harness is imported
before a test asks for them.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from .comparison import Outcome
    from .contest import Reference
    from .oracle import Factory

SIGNATURE = (
    "parity(candidate, reference, *, kwargs=None, candidate_kwargs=None, scenarios='*', dtype=torch.float32, "
    "device='cpu', seed=0, ulp=0, states=True)"
)
MARKER = (
    f"{SIGNATURE}: the fixture `parity` compares the two optimizers, in one test for each scenario and dtype (one, or "
    "a list); arguments as for torchopt_notes.testing.assert_parity"
)
EXAMPLE = "parity(MyAdamW, torch.optim.AdamW)"


class Parity:
    """What the fixture ``parity`` is in a test without a marker.

    Example, all scenarios in one test::

        def test_my_adamw(parity):
            parity(MyAdamW, torch.optim.AdamW, kwargs={"lr": 1e-3})

    Attributes:
        called: whether the test has called it.
        mistake: what is wrong with the test's marker, or an empty string.
    """

    def __init__(self, mistake: str = "") -> None:
        self.called = False
        self.mistake = mistake

    def __call__(
        self,
        candidate: Factory | None = None,
        reference: Reference | None = None,
        *,
        kwargs: Mapping[str, Any] | None = None,
        candidate_kwargs: Mapping[str, Any] | None = None,
        scenarios: str | Sequence[str] = "*",
        dtype: torch.dtype | Sequence[torch.dtype] | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        ulp: float = 0,
        states: bool = True,
    ) -> list[Outcome]:
        """Fails the test unless the candidate is the reference. With a marker it takes no arguments.

        Args:
            candidate: an optimizer class, or a callable like one.
            reference: the same, or ``torchopt_notes.testing.FLOAT64``.
            kwargs: arguments for both. Default: none.
            candidate_kwargs: arguments for the candidate alone. Default: none.
            scenarios: names, with wildcards. Default: all.
            dtype: of the parameters, one or several. Default: ``torch.float32``.
            device: of the parameters. Default: cpu.
            seed: of parameters and gradients. Default: 0.
            ulp: 0, the default, asks for equal bits; else the distance from float64 in units.
            states: whether states are compared too. Default: True.

        Returns:
            What each scenario showed.

        Raises:
            TypeError, ValueError, Exception: as :func:`.compare`, for what cannot be compared. That is a mistake in the
                test, and fails it.

        Skips the test if no scenario says anything: the reference raises, or both do.
        """
        __tracebackhide__ = True
        self.called = True
        given = locals()
        return _compare(**_checked({name: given[name] for name in _parameters()}))


class Marked(Parity):
    """What the fixture ``parity`` is in a test with a marker, for one scenario and dtype of it."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments

    def __call__(self, *arguments: Any, **named: Any) -> list[Outcome]:
        """Compares what the marker says."""
        __tracebackhide__ = True
        self.called = True
        if arguments or named:
            given = ", ".join([*map(_shown, arguments), *(f"{name}={_shown(value)}" for name, value in named.items())])
            raise TypeError(
                "parity() has its arguments from @pytest.mark.parity here, and takes no others; it was given "
                f"{given}: move that into the marker, or take the marker away"
            )
        return _compare(**self.arguments)


CALL = pytest.StashKey[Parity]()


@functools.cache
def _parameters() -> Mapping[str, inspect.Parameter]:
    return inspect.signature(Parity().__call__).parameters


def _checked(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with a list of dtypes, unless they name nothing to compare.

    Raises:
        TypeError, ValueError: saying what was given, what is allowed and what to do.
    """
    __tracebackhide__ = True
    from .request import check_contestants, check_dtype
    from .scenarios import find_scenarios

    candidate, reference, dtype, scenarios = (asked[name] for name in ("candidate", "reference", "dtype", "scenarios"))
    roles = {"candidate": candidate, "reference": reference}
    if missing := [name for name, value in roles.items() if value is None]:
        got = "neither" if len(missing) == 2 else f"no {missing[0]}"
        raise TypeError(
            f"it needs a candidate and a reference, and has {got}; write @pytest.mark.{EXAMPLE} and call parity(), or "
            f"call {EXAMPLE} without a marker"
        )
    check_contestants(candidate, reference)
    dtypes = _dtypes(dtype)
    if not dtypes:
        raise ValueError("dtype is empty, so nothing would be compared; leave it out for torch.float32")
    for one in dtypes:
        check_dtype(one)
    names = [scenarios] if isinstance(scenarios, str) else scenarios
    if not (isinstance(names, Sequence) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"scenarios must be a name, or a list of names, with wildcards, got {_shown(scenarios)}")
    if not names:
        raise ValueError("scenarios is empty, so nothing would be compared; leave it out for all of them")
    find_scenarios(names)
    return {**asked, "dtype": dtypes}


def _dtypes(dtype: Any) -> list[Any]:
    import torch

    if dtype is None:
        return [torch.float32]
    # A string has characters, which are no dtypes: the message is to name the whole.
    return list(dtype) if isinstance(dtype, (list, tuple)) else [dtype]


def _usable(value: object) -> bool:
    """Whether it can be a reference. The class of FLOAT64 is asked for by name, since torch need not be imported."""
    return callable(value) or type(value).__name__ == "Float64"


def _shown(value: object) -> str:
    text = " ".join(str(getattr(value, "__qualname__", repr(value))).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _compare(candidate: Factory, reference: Reference, *, dtype: Sequence[Any], **options: Any) -> list[Outcome]:
    from .comparison import compare

    found = [(one, outcome) for one in dtype for outcome in compare(candidate, reference, dtype=one, **options)]
    failed = [(one, outcome) for one, outcome in found if outcome.verdict == "failed"]
    if failed:
        lines = [f"scenario {outcome.scenario}, {str(one)[6:]}: {outcome.reason}" for one, outcome in failed]
        pytest.fail("\n".join([_headline(candidate, reference), *lines]), pytrace=False)
    if not any(outcome.verdict == "same" for _, outcome in found):
        pytest.skip("; ".join(dict.fromkeys(f"{outcome.verdict}: {outcome.reason}" for _, outcome in found)))
    return [outcome for _, outcome in found]


def _headline(candidate: Any, reference: Any) -> str:
    mine, its = _name(candidate), _name(reference)
    if mine.rpartition(".")[2] == its.rpartition(".")[2]:
        mine, its = _name(candidate, module=True), _name(reference, module=True)
    return f"{mine} is not {its}"


def _name(factory: Any, *, module: bool = False) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    home, name = getattr(factory, "__module__", None) or "", getattr(factory, "__qualname__", repr(factory))
    if home.startswith("torch.optim."):
        return f"torch.optim.{name}"  # whose classes live in modules of their own below it
    return f"{home}.{name}" if module and home else name


def _bound(marker: pytest.Mark) -> dict[str, Any]:
    """A marker's arguments.

    Raises:
        TypeError, ValueError: for arguments that compare nothing.
    """
    try:
        bound = inspect.signature(Parity().__call__).bind(*marker.args, **marker.kwargs)
    except TypeError as error:
        raise TypeError(f"{error}; it is {SIGNATURE}") from None
    bound.apply_defaults()
    return _checked(bound.arguments)


def _params(markers: Sequence[pytest.Mark]) -> list[Any]:
    """One for each marker, dtype and scenario.

    Raises:
        TypeError, ValueError: for arguments that compare nothing.
    """
    from .scenarios import find_scenarios

    asked = [_bound(marker) for marker in markers]
    names = [_name(one["candidate"]) for one in asked]
    params = []
    for index, one in enumerate(asked, 1):
        name = names[index - 1] if names.count(names[index - 1]) == 1 else f"{names[index - 1]}{index}"
        for dtype in one["dtype"]:
            for scenario in find_scenarios(one["scenarios"]):
                parts = [*([name] if len(asked) > 1 else []), scenario.name]
                parts += [str(dtype)[6:]] if len(one["dtype"]) > 1 else []
                arguments = {**one, "scenarios": (scenario.name,), "dtype": [dtype]}
                params.append(pytest.param(arguments, id="-".join(parts)))
    return params


def _means_a_comparison(marker: pytest.Mark) -> bool:
    """Whether a marker is this one. Another project's of that name is none of ours."""
    named = {"candidate", "reference"} & marker.kwargs.keys()
    return bool(named) or any(_usable(value) for value in marker.args)


def _only_ours(config: pytest.Config) -> bool:
    """Whether nobody else has registered a marker of that name."""
    return not any(re.match(r"parity\b", line) for line in config.getini("markers") if line != MARKER)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, which ``--strict-markers`` asks for."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each scenario and dtype of each marker.

    A wrong marker stays one test, which the fixture makes fail: an error here would end the collection of all others.
    """
    markers = list(metafunc.definition.iter_markers("parity"))
    if "parity" in metafunc.fixturenames:
        if not any(_means_a_comparison(marker) for marker in markers):
            return  # the fixture may be somebody else's too
        try:
            params = _params(markers)
        except (TypeError, ValueError):
            return
        metafunc.parametrize("parity", params, indirect=True)
    elif any(not marker.args and not marker.kwargs for marker in markers) and _only_ours(metafunc.config):
        metafunc.definition.warn(
            pytest.PytestWarning(
                "@pytest.mark.parity without arguments compares nothing; write "
                f"@pytest.mark.{EXAMPLE} and call the fixture parity(). If the marker is your own, register it"
            )
        )


def _mistake(markers: Sequence[pytest.Mark]) -> str:
    """Why a test was not parametrized by its markers."""
    try:
        _params(markers)
    except (TypeError, ValueError) as error:
        return f"@pytest.mark.parity: {error}"
    return (
        "@pytest.mark.parity makes several tests of one, which methods of unittest.TestCase cannot be; call "
        f"{EXAMPLE} without a marker, or write a function"
    )


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """Compares two optimizers: ``parity()`` with ``@pytest.mark.parity``, or ``parity(candidate, reference, ...)``."""
    markers = list(request.node.iter_markers("parity"))
    if hasattr(request, "param"):
        call: Parity = Marked(request.param)
    else:
        call = Parity(_mistake(markers) if markers else "")
    request.node.stash[CALL] = call
    return call


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fails a test whose marker is wrong, or that passes without a comparison.

    It fails here, and not where its fixtures are made or undone, so that it is the test that fails, once, and for the
    first reason.
    """
    unused = "parity" not in getattr(item, "fixturenames", ())
    if unused and any(_means_a_comparison(marker) for marker in item.iter_markers("parity")):
        pytest.fail("@pytest.mark.parity compares nothing unless the test takes `parity` and calls it", pytrace=False)
    before = item.stash.get(CALL, None)
    if before is not None and before.mistake:
        pytest.fail(before.mistake, pytrace=False)
    result = yield
    after = item.stash.get(CALL, None)
    if after is not None and not after.called:
        pytest.fail(
            f"the test takes `parity` and never calls it, so nothing was compared; call "
            f"{'parity()' if isinstance(after, Marked) else EXAMPLE}",
            pytrace=False,
        )
    return result
