"""The matrix of optimizers, backends and features: every cell is constructed and stepped, and means what it says."""

import re
from pathlib import Path
from typing import Unpack

import pytest
import torch

from tests.backends import HERE, MISSING
from torchopt_notes import SGD, Adam
from torchopt_notes.engine.options import EngineOptions
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing import matrix
from torchopt_notes.testing.matrix import FEATURES, FP32, SPARSE, Feature

STEPS = 2
PAGE = Path(__file__).parents[2] / "docs" / "optimizers.md"
COMPILED_ANEW = (
    "max_grad_value",
    "adaptive_clip",
    "coupled l1",
    "decoupled l1",
    "decouple_lr",
    "cautious decay",
    "skip_nonfinite on the device",
)
NAMED = {feature.name.replace("`", ""): feature for feature in FEATURES}


def gradient(seed, dtype, sparse):
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    if dtype.is_complex:
        values *= 1 + 1j
    rows = torch.tensor([0, 2, 4 - seed])
    return torch.sparse_coo_tensor(rows[None], values[rows], (5, 3), check_invariants=True) if sparse else values


def run(cls, backend, feature):
    """The parameter after a few steps. One element starts at zero, where a change shows in every dtype."""
    start = torch.linspace(-7, 7, 15).view(5, 3).to(feature.dtype)
    param = start.clone().requires_grad_()
    if differentiable := "differentiable" in feature.options:
        param = param.clone()  # not a leaf: autograd records the step
    optimizer = cls([param], backend=backend, **matrix.arguments(cls, feature))
    sparse = feature.sparse or matrix.needs_sparse(cls)
    if feature.grad_scale is not None:
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(feature.grad_scale), torch.tensor(0.0)
    for seed in range(STEPS):
        param.grad = (gradient(seed, feature.dtype, sparse) * (feature.grad_scale or 1)).requires_grad_(differentiable)
        optimizer.step()
    assert param.requires_grad
    assert (param.grad_fn is not None) == differentiable
    assert {bucket.backend for bucket in optimizer.explain()} == {backend}
    assert param.dtype is feature.dtype
    result = param.detach()
    assert result.isfinite().all()
    assert not torch.equal(result, start)
    return result


def check(cls, backend, feature):
    """A yes must work and have its effect; a no must raise and name the optimizer."""
    if matrix.hole(cls, backend, feature) is not None:
        with pytest.raises((TypeError, ValueError, RuntimeError), match=rf"\b{cls.__name__}\b"):
            run(cls, backend, feature)
        return
    result = run(cls, backend, feature)
    # Whether the last digits are right is for the parity tests.
    tolerance = {torch.bfloat16: 0.05, torch.float16: 0.01}.get(feature.dtype, 1e-3)
    if matrix.hole(cls, "eager", feature) is None:
        torch.testing.assert_close(result, run(cls, "eager", feature), rtol=tolerance, atol=tolerance)
    if feature.changes is not None:
        plain = run(cls, backend, FP32)
        # The same code on the same numbers gives the same bits, should the feature be ignored.
        assert not (feature.changes and torch.equal(result, plain))
        assert feature.changes or torch.allclose(result, plain, rtol=tolerance, atol=tolerance)


def cells():
    """Every cell of the backends that run in this process. Other dtypes are other code, which takes long to make."""
    for name, cls in optimizers().items():
        for backend in HERE:
            for title, feature in NAMED.items():
                slow = backend != "eager" and feature.dtype not in (torch.float32, torch.complex64)
                slow |= backend == "compiled" and title in COMPILED_ANEW
                marks = [pytest.mark.skipif(MISSING[backend] is not None, reason=str(MISSING[backend]))]
                marks += [pytest.mark.full] * slow
                yield pytest.param(cls, backend, feature, marks=marks, id=f"{name}-{backend}-{title}")


@pytest.mark.parametrize(("cls", "backend", "feature"), list(cells()))
def test_every_cell(cls, backend, feature):
    check(cls, backend, feature)


class ForgetfulAdam(Adam):
    """Takes arguments without doing anything about them, and gradients that its rule cannot work with."""

    def __init__(self, params, lr=1e-3, *, maximize=False, weight_decay=0, **options: Unpack[EngineOptions]):
        super().__init__(params, lr, **options)

    def refuses_sparse(self, group):
        return None


class CurtAdam(Adam):
    """Refuses without saying who does."""

    def refuses_sparse(self, group):
        raise RuntimeError("no")


@pytest.mark.skipif("eager" not in HERE, reason="the eager backend runs in the process without the interpreter")
class TestClaimsThatDoNotHold:
    @pytest.mark.parametrize("feature", ["maximize", "coupled decay", "sparse gradients"])
    def test_a_yes(self, feature):
        check(Adam, "eager", NAMED[feature])
        assert matrix.hole(ForgetfulAdam, "eager", NAMED[feature]) is None
        with pytest.raises((AssertionError, RuntimeError)):
            check(ForgetfulAdam, "eager", NAMED[feature])

    def test_a_no(self, monkeypatch):
        monkeypatch.setitem(matrix.RULES, ("fp64", "eager"), "said to be impossible")
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            check(Adam, "eager", NAMED["fp64"])

    def test_a_refusal_without_a_name(self, monkeypatch):
        monkeypatch.setattr(matrix, "hole", lambda *_: "no")
        with pytest.raises(AssertionError, match="Regex pattern did not match"):
            check(CurtAdam, "eager", SPARSE)


def test_reasons_come_from_the_class(monkeypatch):
    assert matrix.hole(SGD, "triton", FP32) is None
    assert matrix.hole(SGD, "triton", Feature("", {"amsgrad": True})) == "there is no `amsgrad`"
    monkeypatch.setattr(SGD, "unsupported", {"complex": "it has no order"})
    assert matrix.hole(SGD, "compiled", NAMED["complex"]) == "it has no order"


def test_the_committed_page_is_what_the_command_prints():
    command = f"python -m {matrix.__name__} > docs/{PAGE.name}"
    assert PAGE.read_text() == matrix.page() + "\n", f"the page is out of date: {command}"


def test_every_hole_has_a_footnote():
    page = matrix.page()
    rows = [line.split(" | ")[2:] for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(optimizers())
    for cell in (cell.removesuffix(" |") for row in rows for cell in row):
        assert (cell == "✓") != bool(re.search(r"\[\^\d+\]$", cell)), cell
    defined = re.findall(r"^\[\^(\d+)\]: \S", page, flags=re.MULTILINE)
    assert defined == [str(number + 1) for number in range(len(defined))]
    assert set(re.findall(r"\[\^(\d+)\](?!:)", page)) == set(defined)


def test_the_page_speaks_markdown():
    page = matrix.page()
    assert ":math:" not in page
    assert ":class:" not in page
    assert "``" not in page
    for cls in optimizers().values():
        assert f"- **`{cls.__name__}`**: " in page
