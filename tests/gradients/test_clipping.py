"""Clipping by the norm of all gradients, on every optimizer and backend."""

import math

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS, HERE
from tests.gradients.references import (
    DOUBLE,
    ONE_EACH,
    assert_untouched,
    bits,
    coefficient,
    fill,
    limited,
    make,
    step_within_bounds,
    total_norm,
)
from torchopt_notes import SGD, AdamW
from torchopt_notes.engine import decision
from torchopt_notes.testing import CASES

ORDERS = [1.0, 2.0, 3.0, math.inf]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
ONE_ROUNDING = 1
"""Units that the product with the common number adds: it rounds the gradient once more."""

ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)


def quick(case, backend, dtype, order):
    """Compiled code takes seconds per optimizer and dtype, and the interpreter is slow."""
    if backend == "eager":
        return order == 2 or dtype in (torch.float32, torch.float64)
    if backend == "triton":
        return (order == 2 and dtype is torch.float32) or (case.optimizer is SGD and dtype is not torch.float16)
    return dtype is torch.float32 and (case.optimizer is SGD or (order == 2 and case.optimizer is AdamW))


def cells(cases, dtypes, orders):
    return [
        pytest.param(
            case,
            *(dtype, order, parameter.values[0]),
            marks=[*parameter.marks, *([] if quick(case, parameter.values[0], dtype, order) else [pytest.mark.full])],
            id=f"{case.name}-{dtype}-{order:g}-{parameter.values[0]}",
        )
        for parameter in BACKENDS
        for case in cases
        for dtype in dtypes
        for order in orders
        if case.takes(dtype)
    ]


def measured(optimizer, grads, order, backend):
    """The optimizer's norm as a NumPy scalar, once it is known to be right."""
    norm, exact = optimizer.grad_norm, total_norm(grads, order)
    double = any(g.dtype in DOUBLE for g in grads)
    assert norm.shape == ()
    assert norm.dtype is (torch.float64 if double else torch.float32)
    if backend == "triton" or double:  # kernels add up fp32 numbers in fp32, chunk by chunk
        kind = torch.float64 if all(g.dtype in DOUBLE for g in grads) or backend != "triton" else torch.float32
        assert norm.item() == pytest.approx(exact, rel=4 * torch.finfo(kind).eps, abs=0)
    else:
        assert norm.item() == np.float32(exact)
    return norm.numpy()[()]


def compare(case, dtype, order, backend, wrong=1.0):
    """Three steps with the option, against torch's clipping before each step of an optimizer without it."""
    ours, theirs = make(case.shapes, dtype), make(case.shapes, dtype)
    optimizer = case.optimizer(ours, **case.kwargs, max_grad_norm=1.0, grad_norm_type=order, backend=backend)
    other, own = (case.reference, {}) if case.reference else (case.optimizer, {"backend": "eager"})
    reference = other(theirs, **case.kwargs, **own)
    for step, size in enumerate([10.0, 1e-3, 0.5]):  # the second needs no clipping
        fill(ours, step, size)
        fill(theirs, step, size)
        grads = [p.grad for p in ours]
        if backend != "eager" or dtype in (torch.float16, torch.bfloat16):  # torch rounds clipped gradients to those

            def scaled(w, g, group, grads=grads):
                return limited(w, g, coefficient(measured(optimizer, grads, order, backend), wrong))

            step_within_bounds(optimizer, other, case.kwargs, case.units + ONE_ROUNDING, scaled)
            continue
        before = bits(grads)
        optimizer.step()
        assert_untouched(grads, before)
        measured(optimizer, grads, order, backend)
        torch.nn.utils.clip_grads_with_norm_(theirs, wrong, optimizer.grad_norm, foreach=False)
        reference.step()
        for our, their in zip(ours, theirs, strict=True):
            assert torch.equal(our, their)
            for name, value in reference.state.get(their, {}).items():
                assert torch.equal(optimizer.state[our][name], value), name


@pytest.mark.parametrize(("case", "dtype", "order", "backend"), cells(ONE_EACH, DTYPES, ORDERS))
def test_a_step_is_the_one_after_torchs_clipping(case, dtype, order, backend):
    """With equal bits on the eager backend, and within its bounds on the others."""
    compare(case, dtype, order, backend)


@pytest.mark.full
@pytest.mark.parametrize(
    ("case", "dtype", "order", "backend"),
    cells([case for case in CASES if case.takes(torch.bfloat16)], [torch.float32], [2.0]),
)
def test_with_every_flag(case, dtype, order, backend):
    compare(case, dtype, order, backend)


@ON_EVERY_BACKEND
@pytest.mark.parametrize("case", [case for case in ONE_EACH if case.optimizer in (SGD, AdamW)], ids=lambda c: c.name)
def test_the_comparison_can_fail(case, backend):
    with pytest.raises(AssertionError):
        compare(case, torch.float32, 2.0, backend, wrong=1 + 1e-5)


@pytest.mark.skipif("eager" not in HERE, reason="kernels decide for themselves")
def test_another_formula_is_noticed(monkeypatch):
    """Without the 1e-6, which the paper does not have and torch does."""
    monkeypatch.setattr(decision, "clip_coefficient", lambda norm, limit: (limit / norm).clamp(max=1.0))
    with pytest.raises(AssertionError):
        compare(next(c for c in ONE_EACH if c.optimizer is SGD), torch.float32, 2.0, "eager")


def pair(backend, steps=2, size=1.0, classes=(AdamW, AdamW), shapes=((5, 3), (7,), ()), **kwargs):
    """The parameters of a run with the options, and of one without."""
    found = []
    for cls, options in zip(classes, (kwargs, {}), strict=True):
        params = make(shapes)
        optimizer = cls(params, lr=0.1, backend=backend, **options)
        for step in range(steps):
            fill(params, step, size)
            optimizer.step()
        found.append(params)
    return found


@ON_EVERY_BACKEND
@pytest.mark.parametrize("limit", [1e6, math.inf, torch.tensor(1e6), torch.tensor([math.inf])], ids=str)
def test_a_limit_that_is_not_reached_changes_nothing(limit, backend):
    ours, theirs = pair(backend, max_grad_norm=limit)
    assert all(map(torch.equal, ours, theirs))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("options", [{"maximize": True}, {"weight_decay": 0.1}, {"l1": 0.1}], ids=lambda o: min(o))
def test_gradients_that_are_not_clipped_are_not_written_either(options, backend):
    params = make([(5, 3), (7,)])
    optimizer = SGD(params, lr=0.1, max_grad_norm=1e6, backend=backend, **options)
    fill(params, 0)
    grads = [p.grad for p in params]
    before = bits(grads)
    optimizer.step()
    assert_untouched(grads, before)


@ON_EVERY_BACKEND
def test_gradients_of_zero(backend):
    ours, theirs = pair(backend, size=0.0, max_grad_norm=1.0)
    assert all(map(torch.equal, ours, theirs))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_norm_that_is_no_number(value, order, backend):
    """As torch has it: an infinite norm makes zeros of the other gradients, a NaN makes NaNs of all."""
    ours, theirs = make([(3,), (2, 2)]), make([(3,), (2, 2)])
    optimizer = SGD(ours, lr=0.5, max_grad_norm=1.0, grad_norm_type=order, backend=backend)
    for params in (ours, theirs):
        fill(params, 0)
        params[0].grad[1] = value
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type=order)
    torch.optim.SGD(theirs, lr=0.5).step()
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our.isnan(), their.isnan())
        torch.testing.assert_close(our, their, equal_nan=True)
    expected = math.nan if math.isnan(value) else math.inf
    assert optimizer.grad_norm.item() == pytest.approx(expected, nan_ok=True)


@ON_EVERY_BACKEND
@pytest.mark.parametrize("limit", [math.inf, torch.tensor(math.inf)], ids=["number", "tensor"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_measuring_alone_never_spreads_what_is_no_number(value, limit, backend):
    params, others = make([(3,), (2, 2)]), make([(3,), (2, 2)])
    optimizer = SGD(params, lr=0.5, max_grad_norm=limit, backend=backend)
    for these in (params, others):
        fill(these, 0)
        these[0].grad[1] = value
    optimizer.step()
    SGD(others, lr=0.5, backend="eager").step()
    for our, their in zip(params, others, strict=True):
        torch.testing.assert_close(our, their, equal_nan=True, rtol=0, atol=0)


@ON_EVERY_BACKEND
def test_one_norm_for_all_groups_and_dtypes(backend):
    """In float64 as soon as one parameter is, as torch's is."""
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.complex64]
    params = [make([(40,)], dtype, seed)[0] for seed, dtype in enumerate(dtypes)]
    starts = [p.detach().clone() for p in params]
    groups = [{"params": params[:2], "lr": 0.5}, {"params": params[2:], "lr": 0.25}]
    optimizer = SGD(groups, max_grad_norm=0.1, backend=backend)
    fill(params, 0)
    optimizer.step()
    norm = measured(optimizer, [p.grad for p in params], 2.0, backend)
    factor = coefficient(norm, 0.1)
    assert factor < 0.02
    for param, start, lr in zip(params, starts, [0.5, 0.5, 0.25, 0.25], strict=True):
        torch.testing.assert_close(param.detach(), start - lr * factor * param.grad)


@ON_EVERY_BACKEND
def test_missing_gradients_count_for_nothing(backend):
    params = make([(5, 3), (7,), ()])
    optimizer = AdamW(params, max_grad_norm=1.0, backend=backend)
    assert optimizer.grad_norm is None
    for missing in (0, 2, 1, None):
        fill(params, 0)
        if missing is not None:
            params[missing].grad = None
        optimizer.step()
        measured(optimizer, [p.grad for p in params if p.grad is not None], 2.0, backend)
    optimizer.zero_grad()
    optimizer.step()
    assert optimizer.grad_norm.item() == 0
    fill(params, 1)
    optimizer.max_grad_norm = None
    optimizer.step()
    assert optimizer.grad_norm is None


@ON_EVERY_BACKEND
def test_the_norm_is_a_tensor_of_its_own(backend):
    params = make([(5, 3)])
    optimizer = SGD(params, lr=0.1, max_grad_norm=1.0, backend=backend)
    fill(params, 0)
    optimizer.step()
    first, again = optimizer.grad_norm, optimizer.grad_norm
    value = first.item()
    again.zero_()
    fill(params, 1)
    optimizer.step()
    assert first.item() == value
    assert optimizer.grad_norm.item() not in (value, 0.0)


@ON_EVERY_BACKEND
@pytest.mark.parametrize("kind", ["tensor in place", "attribute"])
def test_the_limit_may_change_between_steps(kind, backend):
    params = make([(50,)])
    limit = torch.tensor(1.0)
    optimizer = SGD(params, lr=1.0, max_grad_norm=limit if kind != "attribute" else 1.0, backend=backend)
    for value in (0.5, 0.125, 2.0):
        if kind == "attribute":
            optimizer.max_grad_norm = value
        else:
            limit.fill_(value)
        start = params[0].detach().clone()
        fill(params, 0)
        optimizer.step()
        assert (start - params[0]).norm().item() == pytest.approx(value, rel=1e-5)


@ON_EVERY_BACKEND
def test_runs_repeat_exactly(backend):
    shapes = [(9000,), (130, 70), (4097,), (5,)]
    first, _ = pair(backend, shapes=shapes, max_grad_norm=0.1, classes=(SGD, SGD))
    second, unclipped = pair(backend, shapes=shapes, max_grad_norm=0.1, classes=(SGD, SGD))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], unclipped[0])


@ON_EVERY_BACKEND
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1e-25, 1e-20, 1.0, 1e18, 1e25])
def test_norms_of_all_sizes(size, order, backend):
    """Squares of such numbers are nothing, or infinite, in fp32."""
    params = make([(5000,) if order != math.inf else (100,), (3, 5)])
    optimizer = SGD(params, lr=0.1, max_grad_norm=math.inf, grad_norm_type=order, backend=backend)
    for step in range(2):  # small tensors are measured side by side from the second step on
        fill(params, step, size)
        optimizer.step()
        measured(optimizer, [p.grad for p in params], order, backend)


@ON_EVERY_BACKEND
def test_a_long_sum_keeps_its_digits(backend):
    """torch adds up in fp32, which loses the small numbers."""
    n = 1 << 17 if backend == "triton" else 1 << 23
    param = torch.nn.Parameter(torch.zeros(n))
    param.grad = torch.full((n,), 1e-3).index_fill(0, torch.tensor([0]), 3.0)
    optimizer = SGD([param], lr=0.1, max_grad_norm=1.0, backend=backend)
    optimizer.step()
    measured(optimizer, [param.grad], 2.0, backend)
