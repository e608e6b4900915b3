"""Where tensors lie, how they change under the optimizer's feet, and what it keeps alive; on every backend here."""

import gc
import weakref

import pytest
import torch

from tests.backends import BACKENDS
from tests.engine.test_contract import assert_close, make_params, set_gradients, take_steps
from torchopt_notes import SGD, Adam, AdamW

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def _layouts(kind, value):
    """A tensor equal to ``value`` that lies in memory in an unusual way."""
    if kind == "transposed":
        return value.movedim(0, -1).contiguous().movedim(-1, 0)
    if kind == "gaps":
        return torch.full((*value.shape, 3), torch.nan)[..., 1].copy_(value)
    if kind == "unaligned":
        return torch.full((value.numel() + 1,), torch.nan)[1:].view(value.shape).copy_(value)
    if kind == "channels_last":
        return value.contiguous(memory_format=torch.channels_last)
    return value


@pytest.mark.parametrize("grad_kind", ["plain", "transposed", "gaps", "unaligned", "channels_last", "expanded"])
@pytest.mark.parametrize("param_kind", ["plain", "transposed", "gaps", "unaligned", "channels_last"])
def test_layouts(param_kind, grad_kind, backend):
    results = []
    for name in ("eager", backend):
        torch.manual_seed(0)
        value = torch.randn(4, 6, 5, 7)
        params = [torch.nn.Parameter(_layouts(param_kind, value)), torch.nn.Parameter(torch.randn(40))]
        optimizer = AdamW(params, lr=0.1, backend=name)
        for _ in range(2):
            gradient = torch.randn(4, 6, 5, 7)
            if grad_kind == "expanded":
                gradient = torch.randn(4, 1, 1, 7).expand(4, 6, 5, 7)
            params[0].grad, params[1].grad = _layouts(grad_kind, gradient), torch.randn(40)
            optimizer.step()
        state = optimizer.state[params[0]]
        assert params[0].stride() == _layouts(param_kind, value).stride()
        results.append([*params, state["exp_avg"], state["exp_avg_sq"]])
    assert_close(*results)


def test_a_large_tensor_with_gaps(backend):
    results = []
    for name in ("eager", backend):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.randn(20_000, 2)[:, 0])
        optimizer = SGD([param], lr=0.1, momentum=0.9, backend=name)
        for _ in range(2):
            param.grad = torch.randn(20_000)
            optimizer.step()
        results.append([param])
    assert_close(*results)


def test_a_conjugated_gradient(backend):
    results = []
    for name in ("eager", backend):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.randn(9, dtype=torch.complex64))
        optimizer = Adam([param], lr=0.1, backend=name)
        param.grad = torch.randn(9, dtype=torch.complex64).conj()
        optimizer.step()
        results.append([param])
    assert_close(*results)


def test_gradients_are_read_only_and_not_kept_alive(backend):
    params = make_params()
    optimizer = Adam(params, lr=0.1, weight_decay=0.1, maximize=True, amsgrad=True, backend=backend)
    for seed in range(2):
        set_gradients(params, seed)
        before = [param.grad.clone() for param in params]
        optimizer.step()
        assert all(torch.equal(param.grad, gradient) for param, gradient in zip(params, before, strict=True))
    watched = [weakref.ref(param.grad) for param in params]
    optimizer.zero_grad()
    gc.collect()
    assert all(watch() is None for watch in watched)


def test_states_given_up_by_the_user_are_freed(backend):
    params = make_params()
    optimizer = Adam(params, lr=0.1, backend=backend)
    take_steps(optimizer, params, range(2))
    watched = weakref.ref(optimizer.state[params[0]]["exp_avg"])
    optimizer.state.clear()
    if backend == "compiled":  # small states share memory there, which is given up with the next step
        take_steps(optimizer, params[1:], [0])
    gc.collect()
    assert watched() is None


@pytest.mark.parametrize("size", [50, 150])
def test_a_parameter_that_changes_its_size(size, backend):
    """Sizes are read at every step: no element outside of the new tensor is touched, none of it is missed."""
    base = torch.ones(200)
    param = torch.nn.Parameter(base[:100])
    optimizer = SGD([param], lr=0.5, backend=backend)
    param.grad = torch.ones(100)
    optimizer.step()
    param.data = base[:size]
    param.grad = torch.ones(size)
    optimizer.step()
    expected = torch.ones(200)
    expected[:100] -= 0.5
    expected[:size] -= 0.5
    assert torch.equal(base, expected)


def test_a_parameter_that_changes_its_shape(backend):
    results = []
    for name in ("eager", backend):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.randn(6, 4))
        optimizer = SGD([param], lr=0.5, backend=name)
        for _ in range(2):
            param.grad = torch.randn(param.shape)
            optimizer.step()
            param.data = param.detach().t().contiguous()
        results.append([param])
    assert_close(*results)


def test_a_state_of_another_size_is_refused_before_anything_changes(backend):
    params = [torch.nn.Parameter(torch.ones(10)) for _ in range(2)]
    optimizer = SGD(params, lr=0.1, momentum=0.9, backend=backend)
    optimizer.state[params[1]]["momentum_buffer"] = torch.zeros(9)
    for param in params:
        param.grad = torch.ones(10)
    with pytest.raises(RuntimeError, match=r"SGD: the state 'momentum_buffer' of a parameter of shape \(10,\) "):
        optimizer.step()
    with pytest.raises(RuntimeError, match="SGD: the state 'momentum_buffer'"):  # and not let through the second time
        optimizer.step()
    assert all(torch.equal(param, torch.ones(10)) for param in params)
    assert params[0] not in optimizer.state


def test_a_model_that_changes_its_precision(backend):
    results = []
    for name in ("eager", backend):
        torch.manual_seed(0)
        model = torch.nn.Linear(30, 3)
        optimizer = SGD(model.parameters(), lr=0.0, backend=name)  # the fp32 step must not differ by a rounding
        model(torch.randn(4, 30)).sum().backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.1
        model.double()
        optimizer.step()
        results.append(list(model.parameters()))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=1e-15, atol=1e-15)


def test_parameters_that_share_memory(backend):
    memory = torch.ones(10)
    params = [torch.nn.Parameter(memory), torch.nn.Parameter(memory.view(2, 5))]
    optimizer = SGD(params, lr=0.1, backend=backend)
    for param in params:
        param.grad = torch.ones_like(param)
    if backend == "eager":
        optimizer.step()
        torch.testing.assert_close(memory, torch.full((10,), 0.8))
        return
    with pytest.raises(RuntimeError, match="memory shared with another parameter"):
        optimizer.step()
    optimizer.backend = "auto"
    optimizer.step()
    torch.testing.assert_close(memory, torch.full((10,), 0.8))
    assert {bucket.reason for bucket in optimizer.explain()} == {"auto: memory shared with another parameter"}


def test_a_parameter_that_overlaps_itself(backend):
    param = torch.nn.Parameter(torch.ones(5).as_strided((3, 3), (1, 1)))
    optimizer = SGD([param], lr=0.1, backend=backend)
    param.grad = torch.ones(3, 3)
    with pytest.raises(RuntimeError, match="several elements in the same memory"):
        optimizer.step()


def test_freezing_parameters_one_by_one_frees_what_they_shared(backend):
    params = [torch.nn.Parameter(torch.randn(100)) for _ in range(40)]
    optimizer = AdamW(params, backend=backend)
    while params:
        take_steps(optimizer, params, [0])
        params.pop().grad = None
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    }
    assert sum(storages.values()) <= 2 * 40 * 2 * 400


def test_a_default_device_does_not_matter(backend):
    results = []
    for device in ("cpu", "meta"):
        params = make_params()
        optimizer = AdamW(params, backend=backend)
        for seed in range(2):
            set_gradients(params, seed)
            with torch.device(device):
                optimizer.step()
        results.append(params)
    assert_close(*results)
