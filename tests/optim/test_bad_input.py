"""Bad input is refused before anything changes, in words that name the optimizer, the argument and what is allowed."""

import copy

import numpy as np
import pytest
import torch

from torchopt_notes import ASGD, LAMB, SGD, Adam, AdamW, Momentum, Rprop
from torchopt_notes.engine import backends
from torchopt_notes.engine.backends import interpreted

NAN, INF = float("nan"), float("inf")


def weight(*shape, **kwargs):
    return torch.nn.Parameter(torch.ones(*(shape or (2,)), **kwargs))


VALUES = [
    (SGD, {"lr": -0.1}, "SGD: Invalid learning rate: -0.1"),
    (SGD, {"lr": NAN}, "SGD: Invalid learning rate: nan"),
    (Adam, {"lr": INF}, "Adam: Invalid learning rate: inf"),
    (Adam, {"lr": "fast"}, "Adam: Invalid learning rate: fast"),
    (AdamW, {"lr": torch.tensor([1.0, 2.0])}, "AdamW: Tensor lr must be 1-element"),
    (
        AdamW,
        {"lr": torch.tensor(0.1), "foreach": True},
        "lr as a Tensor is not supported for capturable=False and foreach",
    ),
    (SGD, {"momentum": -1}, "SGD: Invalid momentum value: -1"),
    (SGD, {"dampening": NAN}, "SGD: Invalid dampening value: nan"),
    (SGD, {"weight_decay": -1}, "SGD: Invalid weight_decay value: -1"),
    (SGD, {"nesterov": True}, "SGD: Nesterov momentum requires a momentum and zero dampening"),
    (Momentum, {"lr": 0.1, "momentum": 1.0}, r"Momentum: Invalid momentum value: 1.0; momentum must be in \[0, 1\)"),
    (Momentum, {"lr": 0.1, "form": "ball"}, "form must be one of 'heavy-ball', 'ema', 'velocity'"),
    (AdamW, {"betas": (1.0, 0.9)}, r"AdamW: Invalid beta parameter at index 0: 1.0; betas\[0\] must be in \[0, 1\)"),
    (Adam, {"betas": (0.9, NAN)}, "Adam: Invalid beta parameter at index 1: nan"),
    (Adam, {"betas": (torch.tensor(0.9), 0.9)}, "betas must be either both floats or both Tensors"),
    (Adam, {"betas": (torch.ones(2) / 2, torch.ones(2) / 2)}, r"Tensor betas\[0\] must be 1-element"),
    (
        Adam,
        {"betas": (torch.tensor(0.9), torch.tensor(0.9)), "foreach": True},
        r"betas\[0\] as a Tensor is not supported",
    ),
    (Adam, {"betas": (0.9,)}, "betas must be a pair"),
    (Adam, {"betas": 0.9}, "Adam: betas must be a pair"),
    (Adam, {"lr": torch.tensor(0.1, device="meta")}, "Adam: Invalid learning rate"),
    (Adam, {"eps": -1e-8}, "Adam: Invalid epsilon value: -1e-08"),
    (Adam, {"weight_decay": INF}, "Adam: Invalid weight_decay value: inf"),
    (
        Adam,
        {"backend": "cuda"},
        "Adam: Invalid backend: 'cuda'; backend must be one of 'auto', 'eager', 'compiled', 'triton'",
    ),
    (Rprop, {"etas": (0.5,)}, "Rprop: etas must be a pair of numbers"),
    (Rprop, {"step_sizes": None}, "Rprop: step_sizes must be a pair of numbers"),
    (ASGD, {"t0": NAN}, "ASGD: Invalid t0 value: nan"),
    (LAMB, {"clamp_value": 0}, "LAMB: Invalid clamp_value: 0; clamp_value must be a finite number > 0"),
    (SGD, {"differentiable": True, "backend": "compiled"}, "differentiable=True needs backend='eager' or 'auto'"),
    (SGD, {"fused": True, "backend": "eager"}, "fused=True excludes backend='eager'"),
]


@pytest.mark.parametrize(("optimizer", "kwargs", "message"), VALUES)
def test_values(optimizer, kwargs, message):
    with pytest.raises(ValueError, match=message):
        optimizer([weight()], **kwargs)


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fused": True, "differentiable": True}, "`fused` does not support `differentiable`"),
        ({"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together"),
    ],
)
def test_flags_that_exclude_each_other(optimizer, kwargs, message):
    with pytest.raises(RuntimeError, match=message):
        optimizer([weight()], **kwargs)


def test_a_value_in_a_group():
    optimizer = AdamW([weight()])
    with pytest.raises(ValueError, match="AdamW: Invalid learning rate: -1"):
        optimizer.add_param_group({"params": [weight()], "lr": -1})
    assert len(optimizer.param_groups) == 1


def test_a_group_cannot_make_adamw_another_optimizer():
    with pytest.raises(ValueError, match="AdamW: decoupled_weight_decay=False is Adam"):
        AdamW([{"params": [weight()], "decoupled_weight_decay": False}])


def test_unknown_keyword():
    with pytest.raises(TypeError, match="beta1"):
        AdamW([weight()], beta1=0.9)


PARAMETERS = [
    ([], ValueError, "empty parameter list"),
    (None, TypeError, "AdamW: params must be an iterable of Tensors or dicts"),
    ([{"lr": 1.0}], ValueError, "AdamW: a parameter group needs 'params'"),
    (weight(), TypeError, "should be an iterable of Tensors or dicts"),
    ([1.0], TypeError, "can only optimize Tensors, but one of the params is float"),
    ([weight() * 2], ValueError, "can't optimize a non-leaf Tensor"),
    ([{"params": {weight()}}], TypeError, "ordered collections"),
]


@pytest.mark.parametrize(("params", "error", "message"), PARAMETERS, ids=lambda value: str(value)[:30])
def test_parameters(params, error, message):
    with pytest.raises(error, match=message):
        AdamW(params)


@pytest.mark.parametrize("backend", ["auto", "eager", "compiled"])
def test_frozen_integers_stay_as_they_are_and_must_have_no_gradient(backend):
    """A quantized model holds such parameters; what trains is elsewhere."""
    frozen = torch.nn.Parameter(torch.arange(3), requires_grad=False)
    trained = weight()
    optimizer = AdamW([frozen, trained], backend=backend)
    trained.grad = torch.ones_like(trained)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert frozen.tolist() == [0, 1, 2]
    assert list(optimizer.state) == [trained]
    frozen.grad = torch.ones(3, dtype=torch.long)
    before = trained.detach().clone()
    with pytest.raises(RuntimeError, match="int64; only floating-point and complex"):
        optimizer.step()
    assert torch.equal(trained, before)


def test_duplicates():
    param = weight()
    with pytest.raises(ValueError, match="AdamW: a parameter group holds the same parameter twice"):
        AdamW([param, param])
    with pytest.raises(ValueError, match="AdamW: some parameters appear in more than one parameter group"):
        AdamW([{"params": [param]}, {"params": [param]}])


@pytest.mark.skipif(interpreted(), reason="the interpreter serves CPU tensors")
def test_triton_without_a_device():
    with pytest.raises(RuntimeError, match="AdamW: backend='triton' cannot run here: kernels run on GPUs"):
        AdamW([weight()], backend="triton")
    optimizer = AdamW([weight()])
    with pytest.raises(RuntimeError, match="backend='triton' cannot run here"):
        optimizer.backend = "triton"
    assert optimizer.backend == "auto"


def test_triton_without_triton(monkeypatch):
    monkeypatch.setattr(backends, "interpreted", lambda: True)
    monkeypatch.setattr(backends, "missing_triton", lambda: "triton is not installed")
    with pytest.raises(RuntimeError, match="triton is not installed"):
        AdamW([weight()], backend="triton")


def test_a_missing_toolchain_is_named(monkeypatch):
    monkeypatch.setattr(backends, "missing_toolchain", lambda: "no C++ compiler")
    with pytest.raises(RuntimeError, match=r"AdamW: backend='compiled' cannot run here: no C\+\+ compiler"):
        AdamW([weight()], backend="compiled")
    with pytest.raises(RuntimeError, match=r"`fused=True` requires all the params .* no C.. compiler"):
        AdamW([weight()], fused=True)
    (bucket,) = AdamW([weight(2_000_000)]).explain()
    assert (bucket.backend, bucket.reason) == ("eager", "auto: no C++ compiler")


@pytest.mark.parametrize("fused", [None, True])
def test_meta_tensors(fused):
    param = weight(device="meta")
    optimizer = AdamW([param], fused=fused)
    param.grad = torch.ones(2, device="meta")
    with pytest.raises(RuntimeError, match=r"AdamW: .*parameters on the meta device hold no data"):
        optimizer.step()
    assert not optimizer.state


def test_an_expanded_parameter():
    param = torch.ones(1).expand(4).requires_grad_()
    optimizer = SGD([param], lr=0.1)
    param.grad = torch.ones(4)
    with pytest.raises(RuntimeError, match="several elements in the same memory"):
        optimizer.step()


@pytest.mark.skipif(backends.missing_toolchain() is not None, reason=str(backends.missing_toolchain()))
def test_an_explicit_backend_never_falls_back():
    params = [weight(3), weight(5)]
    optimizer = SGD(params, lr=0.1, backend="compiled")
    params[0].grad = torch.ones(3)
    params[1].grad = torch.sparse_coo_tensor([[0]], [1.0], (5,))
    before = copy.deepcopy(params)
    with pytest.raises(RuntimeError, match="SGD: backend='compiled' cannot run here: sparse gradient"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    optimizer.backend = "auto"
    optimizer.step()
    assert {bucket.reason for bucket in optimizer.explain()} == {
        "auto: sparse gradient",
        "auto: 3 elements in 1 tensors count as 4,003, compiling would pay from 2,000,000",
    }


def test_sparse_gradients_with_nesterov():
    param = weight(5)
    optimizer = SGD([param], lr=0.1, momentum=0.9, nesterov=True)
    param.grad = torch.sparse_coo_tensor([[0]], [1.0], (5,))
    with pytest.raises(RuntimeError, match="SGD does not support sparse gradients with nesterov=True"):
        optimizer.step()
    assert not optimizer.state


def test_numbers_of_numpy_are_numbers():
    optimizer = AdamW([weight()], lr=np.float32(1e-3), weight_decay=np.float64(0.1))
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()


def test_sparse_gradients_with_decay():
    param = weight(5)
    optimizer = SGD([param], lr=0.1, weight_decay=0.1)
    param.grad = torch.sparse_coo_tensor([[0]], [1.0], (5,))
    with pytest.raises(RuntimeError, match="SGD: weight_decay is not possible with sparse gradients"):
        optimizer.step()
