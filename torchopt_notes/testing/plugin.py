"""The pytest plugin: ``@pytest.mark.parity`` and the fixture ``parity`` pin a project's optimizer to a reference.

pytest imports this in every run of an environment that has the package, so neither torch nor the harness is imported
before a test asks for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from .comparison import Outcome
    from .contest import Reference
    from .oracle import Factory

MARKER = (
    "parity(candidate, reference, *, kwargs=None, candidate_kwargs=None, scenarios='*', dtype=torch.float32, "
    "device='cpu', seed=0, ulp=0, states=True): the fixture `parity` compares the two optimizers, in one test for each "
    "scenario and dtype (one, or a list); arguments as for torchopt_notes.testing.assert_parity"
)


class Parity:
    """What the fixture ``parity`` is.

    Example, without a marker: all scenarios in one test::

        def test_my_adamw(parity):
            parity(MyAdamW, torch.optim.AdamW, kwargs={"lr": 1e-3})
    """

    def __init__(self, marked: Mapping[str, Any] | None) -> None:
        self.marked = marked
        self.called = False

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
        """Fails the test unless the candidate is the reference. Without arguments it compares what the marker says.

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

        Skips the test if no scenario says anything: the reference raises, or both do.
        """
        self.called = True
        given = locals()
        if candidate is not None and reference is not None:
            if self.marked is not None:
                raise TypeError("parity() has its arguments from @pytest.mark.parity here, and takes no others")
            asked = {name: given[name] for name in inspect.signature(self.__call__).parameters}
        elif candidate is None and reference is None and self.marked is not None:
            asked = dict(self.marked)
        else:
            raise TypeError("parity() needs a candidate and a reference, here or in @pytest.mark.parity")
        return _compare(**asked)


def _compare(candidate: Factory, reference: Reference, *, dtype: Any, ulp: float, **options: Any) -> list[Outcome]:
    from .comparison import compare

    if not callable(reference) and not ulp:
        raise ValueError("no rounded result equals float64's; say how far it may be, such as ulp=2")
    found = [
        (one, outcome)
        for one in _dtypes(dtype)
        for outcome in compare(candidate, reference, dtype=one, ulp=ulp, **options)
    ]
    failed = [(one, outcome) for one, outcome in found if outcome.verdict == "failed"]
    if failed:
        lines = [f"scenario {outcome.scenario}, {str(one)[6:]}: {outcome.reason}" for one, outcome in failed]
        pytest.fail("\n".join([f"{_name(candidate)} is not {_name(reference)}", *lines]), pytrace=False)
    if not any(outcome.verdict == "same" for _, outcome in found):
        pytest.skip("; ".join(dict.fromkeys(f"{outcome.verdict}: {outcome.reason}" for _, outcome in found)))
    return [outcome for _, outcome in found]


def _dtypes(dtype: torch.dtype | Sequence[torch.dtype] | None) -> list[torch.dtype]:
    import torch

    if dtype is None:
        return [torch.float32]
    return [dtype] if isinstance(dtype, torch.dtype) else list(dtype)


def _name(factory: Any) -> str:
    module, name = getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))
    # torch.optim's classes live in modules of their own below it.
    return f"torch.optim.{name}" if module.startswith("torch.optim.") else name


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, which ``--strict-markers`` asks for."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each scenario and dtype of a marker."""
    marker = metafunc.definition.get_closest_marker("parity")
    if marker is None or not callable(next(iter(marker.args), marker.kwargs.get("candidate"))):
        return  # somebody else's marker of that name is none of ours
    test = metafunc.definition.nodeid
    if "parity" not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{test}: @pytest.mark.parity compares nothing unless the test takes `parity` and calls it"
        )
    from .scenarios import find_scenarios

    try:
        bound = inspect.signature(Parity(None).__call__).bind(*marker.args, **marker.kwargs)
        bound.apply_defaults()
        if None in (bound.arguments["candidate"], bound.arguments["reference"]):
            raise TypeError("it needs a candidate and a reference")
        scenarios = find_scenarios(bound.arguments["scenarios"])
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{test}: @pytest.mark.parity: {error}") from None
    dtypes = _dtypes(bound.arguments["dtype"])
    params = [
        pytest.param(
            bound.arguments | {"scenarios": (scenario.name,), "dtype": dtype},
            id=scenario.name if len(dtypes) == 1 else f"{scenario.name}-{str(dtype)[6:]}",
        )
        for dtype in dtypes
        for scenario in scenarios
    ]
    metafunc.parametrize("parity", params, indirect=True)


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Iterator[Parity]:
    """Compares two optimizers: ``parity()`` with ``@pytest.mark.parity``, or ``parity(candidate, reference, ...)``."""
    check = Parity(getattr(request, "param", None))
    yield check
    if not check.called:
        pytest.fail("the test takes `parity` and never calls it, so nothing was compared", pytrace=False)
