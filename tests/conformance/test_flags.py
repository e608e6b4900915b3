"""The flags that choose an implementation choose no result."""

from unittest import mock

import pytest
import torch

from tests.conformance import wrong
from tests.conformance.harness import conforms, one_input, where
from tests.conformance.problems import (
    assert_alike,
    assert_params,
    assert_same_outcome,
    loss,
    run,
    weights,
)
from torchopt_notes.engine import backends


def supports(flag):
    return where(lambda pair: flag in pair.info.supported_impls, lambda pair: pair.inputs)


def takes(flag):
    return where(lambda pair: pair.takes(flag), lambda pair: pair.inputs)


def after(make, subject, steps=4, **flags):
    params = weights()
    optimizer = make(params, **flags)
    run(subject, optimizer, params, steps)
    return params, optimizer


def tensor_without_capturable(subject):
    """With these torch refuses ``foreach=True`` in some optimizers; test_numbers looks at that."""
    values = [value for key in ("lr", "betas") for value in [subject.kwargs.get(key)]]
    return any(isinstance(part, torch.Tensor) for value in values for part in [value] if value is not None)


@conforms(wrong.always_needs_a_gpu, supports("foreach"), slow=True)
def test_foreach_changes_nothing(subject):
    """``foreach`` true, false and unset give the same bits, which are those of torch's loop; torch's multi-tensor form
    is equal within rounding."""
    kept = [after(subject.make, subject, foreach=flag) for flag in _foreach(subject)]
    loop = after(subject.torchs, subject, foreach=False)
    for params, _ in kept:
        assert all(map(torch.equal, params, kept[0][0]))
    assert_alike(subject, kept[0], loop)
    if not tensor_without_capturable(subject):
        multi = after(subject.torchs, subject, foreach=True)
        torch.testing.assert_close(kept[0][0], multi[0], rtol=2e-5, atol=2e-6)


def _foreach(subject):
    if tensor_without_capturable(subject) and not subject.kwargs.get("capturable"):
        return (False, None)
    return (False, None, True)


@conforms(
    wrong.forgets_the_others,
    where(lambda pair: not pair.sparse_only, lambda pair: pair.inputs),
    everywhere=False,
    quick=lambda cell: cell.representative and "cpu" in cell.pair.info.supports_fused_on,
)
def test_fused_is_equal_within_rounding(subject):
    """``fused=True`` runs, on the compiled backend, and is torch's step within rounding: its fused one where it has one
    on the CPU, its loop elsewhere."""

    if (reason := backends.missing_toolchain()) is not None:
        pytest.skip(reason)

    def fused(params, **more):
        return subject.ours(params, **{**subject.kwargs, **more})

    mine, optimizer = after(fused, subject, fused=True)
    assert {bucket.backend for bucket in optimizer.explain()} <= {"compiled", "triton"}
    flags = {"fused": True} if "cpu" in subject.pair.info.supports_fused_on else {}
    torch.testing.assert_close(mine, after(subject.torchs, subject, **flags)[0], rtol=2e-5, atol=2e-6)


@conforms(wrong.always_needs_a_gpu, supports("differentiable"), everywhere=False)
def test_differentiable_changes_no_number(subject):
    """``differentiable=True`` gives the numbers of torch's, and within rounding those of the usual step."""
    mine, its = recorded(subject.make, subject), recorded(subject.torchs, subject)
    if subject.exact:
        assert_params(subject, mine, its)
    torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(mine, after(subject.make, subject)[0], rtol=2e-5, atol=2e-6)


def recorded(make, subject, steps=4):
    """Steps that autograd records, of parameters that are results themselves."""
    params = [param.clone() for param in weights()]
    optimizer = make(params, differentiable=True)
    for _ in range(steps):
        leaves = [param.detach().requires_grad_() for param in params]
        for param, grad in zip(params, torch.autograd.grad(loss(leaves), leaves), strict=True):
            param.grad = grad
        optimizer.step()
    return [param.detach() for param in params]


@conforms(wrong.always_needs_a_gpu, where(lambda pair: pair.takes("amsgrad"), one_input), everywhere=False)
def test_differentiable_works_with_amsgrad_as_in_torch(subject):
    """Several steps with ``differentiable`` and ``amsgrad``, and the backward pass through them."""

    def train(make):
        start = torch.ones(3, requires_grad=True)
        param = start.clone()
        optimizer = make([param], differentiable=True, amsgrad=True)
        for _ in range(2):
            param.grad = torch.ones(3, requires_grad=True)
            optimizer.step()
        param.sum().backward()

    assert_same_outcome(lambda: train(subject.make), lambda: train(subject.torchs), words=False)


@conforms(wrong.always_needs_a_gpu, takes("capturable"), one_variant=False)
def test_capturable_changes_no_number(subject):
    """``capturable=True`` gives torch's numbers without it, within rounding."""
    mine = after(subject.make, subject, capturable=True)
    its = after(subject.torchs, subject)
    torch.testing.assert_close(mine[0], its[0], rtol=2e-5, atol=2e-6)


@conforms(wrong.always_needs_a_gpu, where(lambda pair: pair.info.has_capturable_arg, one_input), everywhere=False)
def test_capturable_on_the_cpu_does_as_in_torch(subject):
    """A step with ``capturable=True`` of parameters on the CPU."""

    def train(make):
        params = weights()
        run(subject, make(params, capturable=True), params, 1)

    theirs = subject.pair.theirs
    kwargs = subject.kwargs
    assert_same_outcome(
        lambda: train(subject.make), lambda: train(lambda params, **more: theirs(params, **{**kwargs, **more}))
    )


@conforms(wrong.says_it_is_fused, where(lambda pair: pair.takes("fused"), one_input), everywhere=False)
def test_fused_false_asks_for_the_loop_as_in_torch(subject):
    """``fused=False`` keeps a large model from a fused step."""
    optimizer = subject.ours([torch.nn.Parameter(torch.zeros(backends.COMPILE_FROM))], fused=False)
    # Nothing is compiled here: this is about what is chosen where a compiler is at hand.
    with mock.patch.object(backends, "missing_toolchain", return_value=None):
        (bucket,) = optimizer.explain()
    assert bucket.backend == "eager", f"runs on the {bucket.backend} backend"
