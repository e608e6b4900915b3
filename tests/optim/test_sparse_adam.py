"""SparseAdam against torch's: no other backend serves it, so it is no row of the shared cases."""

import copy

import pytest
import torch

from torchopt_notes import SparseAdam


def make_params():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(6, 3), (5,)]]


def set_gradients(params, step):
    """Rows that come and go, one of them named twice, and one gradient that names none."""
    generator = torch.Generator().manual_seed(step)
    rows = [0, 2, 2] if step % 2 else [4, 2]
    for param in params:
        named = [] if step == 3 and param.dim() == 1 else rows
        values = torch.randn(len(named), *param.shape[1:], generator=generator, dtype=param.dtype)
        indices = torch.tensor([named], dtype=torch.long)
        param.grad = torch.sparse_coo_tensor(indices, values, param.shape, check_invariants=True)


def take_steps(optimizer, params, steps):
    for step in steps:
        set_gradients(params, step)
        optimizer.step()


def assert_same(ours, our_params, theirs, their_params):
    for our, their in zip(our_params, their_params, strict=True):
        assert torch.equal(our, their)
        assert ours.state[our].keys() == theirs.state[their].keys()
        for name, value in theirs.state[their].items():
            assert torch.equal(torch.as_tensor(ours.state[our][name]).float(), torch.as_tensor(value).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"maximize": True}, {"lr": torch.tensor(0.1), "eps": 1e-3}, {"lr": torch.tensor([0.1]), "betas": (0.0, 0.5)}],
    ids=str,
)
def test_equal_bits(kwargs, dtype):
    ours, theirs = ([torch.nn.Parameter(p.detach().to(dtype)) for p in make_params()] for _ in range(2))
    optimizers = SparseAdam(ours, **kwargs), torch.optim.SparseAdam(theirs, **kwargs)
    for step in range(8):
        for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
            take_steps(optimizer, params, [step])
        assert_same(optimizers[0], ours, optimizers[1], theirs)


def test_an_empty_gradient_counts_and_changes_nothing():
    param = make_params()[0]
    optimizer = SparseAdam([param])
    set_gradients([param], 0)
    optimizer.step()
    before = param.detach().clone()
    param.grad = torch.sparse_coo_tensor(
        torch.empty(1, 0, dtype=torch.long), torch.empty(0, 3), (6, 3), check_invariants=True
    )
    optimizer.step()
    assert torch.equal(param, before)
    assert optimizer.state[param]["step"].item() == 2


def test_embeddings_with_late_and_missing_gradients():
    torch.manual_seed(0)
    table = torch.nn.Embedding(10, 4, sparse=True)
    twin = copy.deepcopy(table)
    ours, theirs = SparseAdam(table, lr=0.1), torch.optim.SparseAdam(twin.parameters(), lr=0.1)
    for step in range(5):
        for model, optimizer in ((table, ours), (twin, theirs)):
            optimizer.zero_grad()
            if step != 2:
                model(torch.tensor([step, step, 7])).square().sum().backward()
            optimizer.step()
    assert_same(ours, [table.weight], theirs, [twin.weight])


@pytest.mark.parametrize("order", [(torch.optim.SparseAdam, SparseAdam), (SparseAdam, torch.optim.SparseAdam)])
def test_checkpoints_interchange_with_torch_in_the_middle_of_a_run(order):
    expected, params = make_params(), make_params()
    take_steps(torch.optim.SparseAdam(expected, lr=0.1), expected, range(6))
    first = order[0](params, lr=0.1)
    take_steps(first, params, range(3))
    second = order[1](params, lr=9.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    take_steps(second, params, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(params, expected, strict=True))
    saved = second.state_dict()
    assert list(saved["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert type(saved["state"][0]["step"]) is int


def test_low_precision_is_rounded_once():
    exact = make_params()[:1]
    params = [torch.nn.Parameter(exact[0].detach().bfloat16())]
    exact = [torch.nn.Parameter(params[0].detach().float())]
    for optimizer, given in ((SparseAdam(params, lr=0.1), params), (SparseAdam(exact, lr=0.1), exact)):
        take_steps(optimizer, given, [0])
    torch.testing.assert_close(params[0].detach().float(), exact[0].detach(), rtol=2**-8, atol=2**-8)


VALUES = [
    ({"lr": 0.0}, "SparseAdam: Invalid learning rate: 0.0; lr must be a finite number > 0"),
    ({"eps": 0}, "SparseAdam: Invalid epsilon value: 0; eps must be a finite number > 0"),
    ({"betas": (0.9, 1.0)}, "SparseAdam: Invalid beta parameter at index 1: 1.0"),
]


@pytest.mark.parametrize(("kwargs", "message"), VALUES)
def test_values_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SparseAdam(make_params(), **kwargs)


def test_parameters_that_are_refused():
    with pytest.raises(
        ValueError, match=r"Sparse params at indices \[1\].*SparseAdam requires dense parameter tensors"
    ):
        SparseAdam([torch.ones(2), torch.ones(2).to_sparse()])
    with pytest.raises(ValueError, match="SparseAdam does not support complex parameters"):
        SparseAdam([torch.ones(2, dtype=torch.complex64)])


@pytest.mark.parametrize("option", ["weight_decay", "fused", "capturable", "differentiable"])
def test_options_without_a_meaning(option):
    with pytest.raises(ValueError, match=f"SparseAdam: {option}=1 has no meaning here"):
        SparseAdam([{"params": make_params(), option: 1}])


def test_dense_gradients_are_refused_before_anything_changes():
    params = make_params()
    optimizer = SparseAdam(params)
    set_gradients(params, 0)
    params[1].grad = torch.ones(5)
    before = copy.deepcopy(params)
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam instead"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    assert not optimizer.state


def test_only_the_eager_backend_serves_it():
    params = make_params()
    optimizer = SparseAdam(params)
    for _ in range(2):
        assert {(bucket.backend, bucket.reason) for bucket in optimizer.explain()} == {
            ("eager", "auto: sparse gradient")
        }
        set_gradients(params, 0)
    optimizer.backend = "compiled"
    with pytest.raises(RuntimeError, match="SparseAdam: backend='compiled' cannot run here: sparse gradient"):
        optimizer.step()
