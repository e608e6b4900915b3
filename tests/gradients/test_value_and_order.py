"""Clipping by value, the order in which gradients are changed, and sparse gradients."""

import math

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.references import (
    ONE_EACH,
    coefficient,
    fill,
    limited,
    make,
    step_within_bounds,
    total_norm,
    unit_scales,
    wide,
)
from torchopt_notes import SGD, Adagrad, Adam, AdamW, SparseAdam

ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)


def value_cells():
    for parameter in BACKENDS:
        backend = parameter.values[0]
        for case in ONE_EACH:
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                fast = backend == "eager" or (dtype is torch.float32 and case.optimizer is SGD)
                marks = [*parameter.marks, *([] if fast else [pytest.mark.full])]
                yield pytest.param(case, dtype, backend, marks=marks, id=f"{case.name}-{dtype}-{backend}")


def compare_values(case, dtype, backend, theirs_to=0.5):
    """Two steps with the option, against ``clip_grad_value_`` before each step of an optimizer without it."""
    ours, theirs = make(case.shapes, dtype), make(case.shapes, dtype)
    optimizer = case.optimizer(ours, **case.kwargs, max_grad_value=0.5, backend=backend)
    other, own = (case.reference, {}) if case.reference else (case.optimizer, {"backend": "eager"})
    reference = other(theirs, **case.kwargs, **own)
    for step in range(2):
        fill(ours, step)
        fill(theirs, step)
        ours[1].grad[:2] = theirs[1].grad[:2] = math.inf
        if backend == "eager" and dtype is not torch.bfloat16:
            optimizer.step()
            torch.nn.utils.clip_grad_value_(theirs, theirs_to, foreach=False)
            reference.step()
            assert all(map(torch.equal, ours, theirs))
        else:
            step_within_bounds(
                *(optimizer, other, case.kwargs, case.units),
                lambda w, g, group: limited(w, g, max_grad_value=theirs_to),
            )


@pytest.mark.parametrize(("case", "dtype", "backend"), value_cells())
def test_a_step_is_the_one_after_torchs_clipping_by_value(case, dtype, backend):
    compare_values(case, dtype, backend)


@ON_EVERY_BACKEND
def test_the_comparison_can_fail(backend):
    with pytest.raises(AssertionError):
        compare_values(next(c for c in ONE_EACH if c.optimizer is SGD), torch.float32, backend, theirs_to=0.5 + 1e-5)


@ON_EVERY_BACKEND
def test_every_group_has_a_value_of_its_own_which_may_change(backend):
    params = make([(20,), (20,), (20,)])
    limit = torch.tensor(0.25)
    groups = [
        {"params": params[:1], "max_grad_value": 0.5},
        {"params": params[1:2], "max_grad_value": limit},
        {"params": params[2:]},
    ]
    optimizer = SGD(groups, lr=1.0, backend=backend)
    for values in ((0.5, 0.25, math.inf), (0.125, 1.0, 0.75)):
        optimizer.param_groups[0]["max_grad_value"] = values[0]
        limit.fill_(values[1])
        if values[2] < math.inf:
            optimizer.param_groups[2]["max_grad_value"] = values[2]
        fill(params, 0, size=2.0)
        starts = [p.detach().clone() for p in params]
        optimizer.step()
        for param, start, value in zip(params, starts, values, strict=True):
            torch.testing.assert_close(param.detach(), start - param.grad.clamp(-value, value), rtol=0, atol=0)


@ON_EVERY_BACKEND
def test_a_nan_is_not_clipped(backend):
    params = make([(20,)])
    optimizer = SGD(params, lr=1.0, max_grad_value=0.5, backend=backend)
    fill(params, 0)
    params[0].grad[3] = math.nan
    optimizer.step()
    assert params[0].isnan().nonzero().flatten().tolist() == [3]


SCALE, NORM, CLIP, VALUE, DECAY, L1 = 4.0, 3.0, 0.2, 0.4, 0.5, 0.25
ORDER = ("unscale", "norm", "adaptive", "value", "sign", "decay")
OTHER_ORDERS = [
    ("norm", "unscale", "adaptive", "value", "sign", "decay"),
    ("unscale", "adaptive", "norm", "value", "sign", "decay"),
    ("unscale", "norm", "value", "adaptive", "sign", "decay"),
    ("unscale", "value", "norm", "adaptive", "sign", "decay"),
    ("unscale", "norm", "adaptive", "sign", "decay", "value"),
    ("unscale", "norm", "adaptive", "value", "decay", "sign"),
    ("decay", "unscale", "norm", "adaptive", "value", "sign"),
]


def gradients_in(order, weights, grads):
    """What plain gradient descent follows, when gradients are changed in this order."""
    for name in order:
        if name == "unscale":
            grads = [g / SCALE for g in grads]
        elif name == "norm":
            norm = np.linalg.norm(np.concatenate([g.reshape(-1) for g in grads]))
            grads = [g * coefficient(norm, NORM) for g in grads]
        elif name == "adaptive":
            grads = [g * unit_scales(w, g, CLIP) for w, g in zip(weights, grads, strict=True)]
        elif name == "value":
            grads = [np.clip(g, -VALUE, VALUE) for g in grads]
        elif name == "sign":
            grads = [-g for g in grads]
        else:
            grads = [g + DECAY * w + L1 * np.sign(w) for w, g in zip(weights, grads, strict=True)]
    return grads


@ON_EVERY_BACKEND
def test_the_order(backend):
    """Unscale, clip by the norm, by units, by value; then the sign; then coupled decay and L1 penalty."""
    params = make([(6, 4), (9,), ()], torch.float64)
    with torch.no_grad():
        params[1].mul_(100)  # so large that nothing is to be clipped for this one alone
    optimizer = SGD(
        params,
        lr=1.0,
        weight_decay=DECAY,
        maximize=True,
        backend=backend,
        max_grad_norm=NORM,
        adaptive_clip=CLIP,
        max_grad_value=VALUE,
        l1=L1,
    )
    fill(params, 0, size=4 * SCALE)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(SCALE), torch.tensor(0.0)
    weights, grads = [wide(p) for p in params], [wide(p.grad) for p in params]
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf

    def matches(order):
        expected = [w - g for w, g in zip(weights, gradients_in(order, weights, grads), strict=True)]
        return all(np.allclose(wide(p), e, rtol=1e-12, atol=1e-14) for p, e in zip(params, expected, strict=True))

    assert matches(ORDER)
    assert not any(map(matches, OTHER_ORDERS))


ALL = {"max_grad_norm": 1.0, "adaptive_clip": 0.05, "max_grad_value": 0.02}
ROUNDINGS = 1 + 5 + 1
"""Units that the limits add: for the common number one rounding of the gradient; for a unit's the roundings of two
norms, limit, ratio and product; for the value that of the limit."""


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        pytest.param(
            *(case, parameter.values[0]),
            marks=[
                *parameter.marks,
                *([pytest.mark.full] if parameter.values[0] == "compiled" and case.optimizer is not AdamW else []),
            ],
            id=f"{case.name}-{parameter.values[0]}",
        )
        for parameter in BACKENDS
        for case in ONE_EACH
    ],
)
def test_all_limits_together(case, backend):
    params = make(case.shapes)
    optimizer = case.optimizer(params, **case.kwargs, **ALL, backend=backend)
    for step in range(2):
        fill(params, step)
        grads = [p.grad for p in params]

        def gradient(w, g, group, grads=grads):
            scale = coefficient(np.float32(total_norm(grads)), ALL["max_grad_norm"])
            return limited(w, g, scale, ALL["adaptive_clip"], max_grad_value=ALL["max_grad_value"])

        # A kernel's norm may differ in the last place from the one that is taken here.
        more = ROUNDINGS + (4 if backend == "triton" else 0)
        step_within_bounds(optimizer, case.reference or case.optimizer, case.kwargs, case.units + more, gradient)


def sparse(seed, size=1.0):
    """A gradient that names a row twice."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor([[4, 1, 4, 0]])
    values = torch.randn(4, 3, generator=generator) * size
    return torch.sparse_coo_tensor(rows, values, (6, 3), check_invariants=True)


SPARSE = [
    (SGD, torch.optim.SGD, {"lr": 0.1}),
    (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, torch.optim.SGD, {"lr": 0.1, "maximize": True}),
    (Adagrad, torch.optim.Adagrad, {"lr": 0.1}),
    (SparseAdam, torch.optim.SparseAdam, {"lr": 0.1}),
    (SparseAdam, torch.optim.SparseAdam, {"lr": 0.1, "maximize": True}),
]


@pytest.mark.parametrize(("ours", "theirs", "kwargs"), SPARSE)
@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("limits", [("norm",), ("value",), ("norm", "value")], ids="+".join)
def test_sparse_gradients(ours, theirs, kwargs, order, limits):
    """A row that is named twice has one gradient, the sum of both."""
    options = {"max_grad_norm": 0.5} if "norm" in limits else {}
    options |= {"max_grad_value": 0.1} if "value" in limits else {}
    mine, its = make([(6, 3)])[0], make([(6, 3)])[0]
    optimizer = ours([mine], **kwargs, **options, grad_norm_type=order)
    reference = theirs([its], **kwargs)
    for step in range(3):
        mine.grad = sparse(step)
        before = mine.grad._values().clone(), mine.grad._values()._version
        whole = mine.grad.coalesce()
        optimizer.step()
        assert not mine.grad.is_coalesced()
        assert torch.equal(mine.grad._values(), before[0])
        assert mine.grad._values()._version == before[1]
        values = whole.values()
        if "norm" in limits:
            norm = np.float32(total_norm([values], order))
            assert optimizer.grad_norm.item() == norm
            values = values * coefficient(norm, 0.5)
        if "value" in limits:
            values = values.clamp(-0.1, 0.1)
        its.grad = torch.sparse_coo_tensor(whole.indices(), values, (6, 3), is_coalesced=True, check_invariants=True)
        reference.step()
        assert torch.equal(mine, its)


def test_sparse_and_dense_gradients_have_one_norm():
    table, weight = make([(6, 3), (5,)])
    optimizer = SGD([table, weight], lr=1.0, max_grad_norm=0.1)
    fill([weight], 0)
    table.grad = sparse(0)
    start = weight.detach().clone()
    optimizer.step()
    norm = total_norm([table.grad.to_dense(), weight.grad])
    assert optimizer.grad_norm.item() == np.float32(norm)
    torch.testing.assert_close(start - weight.detach(), weight.grad * (0.1 / (norm + 1e-6)))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("name", ["max_grad_norm", "max_grad_value", "adaptive_clip", "l1"])
def test_tensors_do_what_numbers_do(name, backend):
    """To the bit: torch divides a number by a tensor in two roundings, and two tensors in one."""
    runs = [make([(50,), (7, 5)]) for _ in range(2)]
    for params, value in zip(runs, (0.1, torch.tensor(0.1, dtype=torch.float64)), strict=True):
        optimizer = AdamW(params, lr=0.1, backend=backend, **{name: value})
        for step in range(20):
            fill(params, step)
            optimizer.step()
    assert all(map(torch.equal, *runs))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("name", ["max_grad_norm", "max_grad_value", "adaptive_clip", "l1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_any_precision_where_nothing_is_read(name, dtype, backend):
    """A 0-d parameter must not take a 0-d option's precision."""
    ours, theirs = make([(), (1,), (5, 3)]), make([(), (1,), (5, 3)])
    optimizer = Adam(ours, capturable=True, backend=backend, **{name: torch.tensor([0.125], dtype=dtype)})
    reference = Adam(theirs, backend="eager", **{name: 0.125})
    for step in range(2):
        for params, opt in ((ours, optimizer), (theirs, reference)):
            fill(params, step)
            opt.step()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-7)
