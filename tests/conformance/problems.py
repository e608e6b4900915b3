"""Small problems to run two optimizers on, and ways to compare what came of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from tests.conformance.harness import Subject


def weights(dtype: torch.dtype = torch.float32, *, gaps: bool = False, rows: int = 6, columns: int = 4) -> list[Any]:
    """A matrix and a vector; with gaps, neither of them is contiguous."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows, columns, 2, dtype=dtype, generator=generator)
    vector = torch.randn(rows, 2, dtype=dtype, generator=generator)
    parts = (matrix[..., 0], vector[..., 0])
    return [Parameter(part if gaps else part.clone(memory_format=torch.contiguous_format)) for part in parts]


def loss(params: Sequence[Tensor]) -> Tensor:
    """Least squares, of real or complex numbers."""
    matrix, vector = params[:2]
    wide = torch.float64 if matrix.dtype in (torch.float64, torch.complex128) else torch.float32
    x = torch.linspace(-1, 1, matrix.shape[1], dtype=wide).to(matrix.dtype)
    residual = torch.mv(matrix, x) + vector
    return (residual * residual.conj()).real.sum()


def set_gradients(subject: Subject, params: Sequence[Tensor], objective: Callable[[Any], Tensor] = loss) -> Tensor:
    """Gradients of the loss, sparse where no others are taken."""
    for param in params:
        param.grad = None
    value = objective(params)
    value.backward()
    if subject.pair.sparse_only:
        for param in params:
            param.grad = None if param.grad is None else param.grad.to_sparse()
    return value.detach()


def run(
    subject: Subject,
    optimizer: Any,
    params: Sequence[Tensor],
    steps: int = 3,
    *,
    schedulers: Iterable[Any] = (),
    objective: Callable[[Any], Tensor] = loss,
) -> list[float]:
    """Takes steps; returns the loss before each of them, and after the last."""
    losses = []
    for _ in range(steps):
        value = set_gradients(subject, params, objective)
        losses.append(value.item())
        optimizer.step()
        for scheduler in schedulers:
            plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(value) if plateau else scheduler.step()
    return [*losses, objective(params).item()]


def assert_number(subject: Subject, actual: Any, expected: Any, what: str) -> None:
    """Equal bits where they must be, otherwise equal within rounding."""
    assert type(actual) is type(expected), f"{what}: {type(actual).__name__} instead of {type(expected).__name__}"
    if not isinstance(expected, Tensor):
        assert actual == expected, f"{what}: {actual!r} instead of {expected!r}"
        return
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), (
        f"{what}: {actual.dtype} {tuple(actual.shape)} instead of {expected.dtype} {tuple(expected.shape)}"
    )
    if expected.is_sparse:
        actual, expected = actual.to_dense(), expected.to_dense()
    actual, expected = actual.detach(), expected.detach()
    if subject.exact:
        assert torch.equal(actual, expected), f"{what}: {actual} instead of {expected}"
    else:
        torch.testing.assert_close(actual, expected, rtol=2e-5, atol=2e-6, msg=lambda text: f"{what}: {text}")


def assert_params(subject: Subject, actual: Iterable[Tensor], expected: Iterable[Tensor]) -> None:
    """Parameters."""
    for i, (mine, its) in enumerate(zip(actual, expected, strict=True)):
        assert_number(subject, mine.detach(), its.detach(), f"params[{i}]")


def assert_saved(subject: Subject, actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """State dicts: the same keys in the same order, and the same values."""
    assert list(actual) == list(expected)
    for i, (mine, its) in enumerate(zip(actual["param_groups"], expected["param_groups"], strict=True)):
        assert list(mine) == list(its), f"group {i} has {list(mine)} instead of {list(its)}"
        for name in its:
            if name != "capturable":  # torch's was made without
                assert_number(subject, mine[name], its[name], f"group {i}, {name}")
    keys = list(actual["state"]), list(expected["state"])
    assert keys[0] == keys[1], f"states of {keys[0]} instead of {keys[1]}"
    for key, state in expected["state"].items():
        mine = actual["state"][key]
        assert sorted(mine) == sorted(state), f"state {key} has {sorted(mine)} instead of {sorted(state)}"
        for name in state:
            assert_number(subject, mine[name], state[name], f"state {key}, {name}")


def assert_alike(subject: Subject, mine: tuple[Any, Any], its: tuple[Any, Any]) -> None:
    """The parameters and the state dicts of two optimizers."""
    assert_params(subject, mine[0], its[0])
    assert_saved(subject, mine[1].state_dict(), its[1].state_dict())


def both(subject: Subject, steps: int = 0, *, dtype: torch.dtype = torch.float32, **more: Any) -> tuple[Any, Any]:
    """Parameters and optimizer, ours and torch's, after some steps."""
    result = []
    for make in (subject.make, subject.torchs):
        params = weights(dtype)
        optimizer = make(params, **more)
        run(subject, optimizer, params, steps)
        result.append((params, optimizer))
    return tuple(result)


def outcome(action: Callable[[], Any]) -> Exception | None:
    """What ``action`` raises, or warns of where torch only warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*duplicate parameters")
        try:
            action()
        except Exception as error:
            return error
    return None


def assert_same_outcome(ours: Callable[[], Any], theirs: Callable[[], Any], *, words: bool = True) -> None:
    """Either both work, or both raise the same type, neither more general nor more special, ours with torch's words."""
    mine, its = outcome(ours), outcome(theirs)
    assert type(mine) is type(its), f"ours: {mine!r}; torch: {its!r}"
    if its is not None and words:
        assert str(its).rstrip(".") in str(mine), f"ours: {mine!r}; torch: {its!r}"
