"""The eager backend gives torch.optim's bits: parameters and states, every flag, every step."""

import pytest
import torch

from torchopt_notes import SGD, Adam, AdamW
from torchopt_notes.testing import CASES, ParityError, assert_parity, random_gradients

EAGER = {"backend": "eager"}
TORCH_CASES = [case for case in CASES if case.reference is not None]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
PAIRS = [(SGD, torch.optim.SGD), (Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", TORCH_CASES, ids=lambda case: case.name)
def test_equal_bits(case, dtype):
    report = assert_parity(case.optimizer, case.reference, kwargs=case.kwargs, candidate_kwargs=EAGER, dtype=dtype)
    assert report.max_ulp == 0
    assert report.steps == 10


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "lr", [0.01, torch.tensor(0.01), torch.tensor([0.01]), torch.tensor(0.01, dtype=torch.float64)]
)
def test_learning_rates_of_every_kind(ours, theirs, dtype, lr):
    kwargs = {"lr": lr, "weight_decay": 0.1}
    assert_parity(ours, theirs, kwargs=kwargs, candidate_kwargs=EAGER, dtype=dtype)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS[1:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tensor_betas(ours, theirs, dtype):
    kwargs = {"betas": (torch.tensor(0.8), torch.tensor([0.99])), "weight_decay": 0.1}
    assert_parity(ours, theirs, kwargs=kwargs, candidate_kwargs=EAGER, dtype=dtype)


def test_tensor_weight_decay():
    assert_parity(SGD, torch.optim.SGD, kwargs={"lr": 0.1, "weight_decay": torch.tensor(0.1)}, candidate_kwargs=EAGER)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_schedule(ours, theirs):
    assert_parity(ours, theirs, kwargs={"lr": 0.1}, candidate_kwargs=EAGER, lr_schedule=lambda step: 0.1 / step)


def _irregular(step, index, param, generator):
    gradient = random_gradients(step, index, param, generator)
    return None if (index == 1 and step < 4) or (index == 2 and step % 2) else gradient


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("momentum", [{}, {"momentum": 0.9, "dampening": 0.5}], ids=["plain", "momentum"])
def test_late_and_missing_gradients(ours, theirs, momentum):
    kwargs = {"lr": 0.1, **(momentum if ours is SGD else {})}
    assert_parity(ours, theirs, kwargs=kwargs, candidate_kwargs=EAGER, gradients=_irregular)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("extra", [{}, {"weight_decay": 0.1}, {"maximize": True}], ids=str)
def test_differentiable_steps_and_their_gradients(ours, theirs, extra):
    results = []
    for optimizer_class in (ours, theirs):
        torch.manual_seed(0)
        start = torch.randn(7, requires_grad=True)
        lr = torch.tensor(0.1, requires_grad=True)
        param = start.clone()
        gradients = [torch.randn(7, requires_grad=True) for _ in range(3)]
        optimizer = optimizer_class([param], lr=lr, differentiable=True, **extra)
        for gradient in gradients:
            param.grad = gradient
            optimizer.step()
        param.square().sum().backward()
        results.append([param.detach(), start.grad, lr.grad, *[gradient.grad for gradient in gradients]])
    assert torch.equal(results[0][0], results[1][0])
    for ours_grad, torch_grad in zip(*results, strict=True):
        torch.testing.assert_close(ours_grad, torch_grad)


def test_differentiable_amsgrad_works_where_torch_loses_its_history():
    start = torch.randn(7, requires_grad=True)
    param = start.clone()
    optimizer = Adam([param], lr=0.1, differentiable=True, amsgrad=True)
    gradients = [torch.randn(7, requires_grad=True) for _ in range(3)]
    for gradient in gradients:
        param.grad = gradient
        optimizer.step()
    param.sum().backward()
    assert all(gradient.grad is not None and gradient.grad.isfinite().all() for gradient in gradients)


def test_sparse_gradients():
    def sparse(step, index, param, generator):
        gradient = random_gradients(step, index, param, generator)
        rows = torch.tensor([step % 3, 4])
        return torch.sparse_coo_tensor(rows[None], gradient[rows], param.shape)

    for kwargs in ({"lr": 0.1}, {"lr": 0.1, "maximize": True}):
        assert_parity(SGD, torch.optim.SGD, kwargs=kwargs, shapes=[(5, 3)], gradients=sparse)


def test_sparse_gradients_with_momentum():
    params = [torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2)]
    optimizers = [SGD(params[:1], lr=0.1, momentum=0.9), torch.optim.SGD(params[1:], lr=0.1, momentum=0.9)]
    for step in range(3):
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = torch.sparse_coo_tensor([[step % 2, 4]], torch.full((2, 3), 1.0 + step), (5, 3))
            optimizer.step()
    assert torch.equal(params[0], params[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_low_precision_is_rounded_once(ours, theirs, dtype):
    assert_parity(ours, theirs, kwargs={"lr": 0.1}, candidate_kwargs=EAGER, dtype=dtype, ulp=2)


def test_bf16_weights_really_decay():
    param = torch.nn.Parameter(torch.ones(100, dtype=torch.bfloat16))
    optimizer = AdamW([param], lr=1.0, weight_decay=0.01, eps=1e3, backend="eager")
    for _ in range(3):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    assert (param < 1).all()


def test_the_comparison_can_fail():
    with pytest.raises(ParityError):
        assert_parity(AdamW, torch.optim.AdamW, candidate_kwargs={"backend": "eager", "eps": 1.1e-8})
