"""Whatever a user changes between two steps is noticed by the next one, on every backend here."""

import pytest
import torch

from tests.backends import BACKENDS
from tests.engine.test_contract import assert_close
from torchopt_notes import AdamW
from torchopt_notes.engine import addresses, steps, tensor_facts

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    """What is done for many tensors is done for few too."""
    monkeypatch.setattr(addresses, "WORTHWHILE", 1)
    monkeypatch.setattr(steps, "FEW", 0)


def _each(change):
    """Does the same to the gradient and both averages of the first parameter."""

    def changed(optimizer, params):
        state = optimizer.state[params[0]]
        for tensor in (params[0].grad, state["exp_avg"], state["exp_avg_sq"]):
            change(tensor)

    return changed


def _replace_states(change):
    def replaced(optimizer, params):
        state = optimizer.state[params[0]]
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = change(state[name])

    return replaced


def _new_dict(optimizer, params):
    optimizer.state[params[0]] = {name: value.clone() + 0.5 for name, value in optimizer.state[params[0]].items()}


def _swap_dicts(optimizer, params):
    state = optimizer.state
    state[params[0]], state[params[1]] = state[params[1]], state[params[0]]


def _reorder(optimizer, params):
    optimizer.state[params[0]] = optimizer.state.pop(params[0])


def _forget_one(optimizer, params):
    del optimizer.state[params[1]]


def _foreign_entry(optimizer, params):
    stranger = torch.nn.Parameter(torch.ones(2))
    states = dict(optimizer.state)
    optimizer.state.clear()
    optimizer.state[stranger] = {"step": torch.tensor(7.0)}
    optimizer.state.update(states)


def _swap_gradients(optimizer, params):
    params[0].grad, params[1].grad = params[1].grad, params[0].grad


def _set_data(tensor):
    tensor.data = tensor.data.t()


def _widen(tensor):
    tensor.data = tensor.data.double()


CHANGES = {
    "nothing": lambda optimizer, params: None,
    "transposed where they are": _each(_set_data),
    "transposed in place": _each(lambda tensor: tensor.t_()),
    "other memory": _each(lambda tensor: setattr(tensor, "data", tensor.data + 0.25)),
    "other values": _each(lambda tensor: tensor.add_(0.25)),
    "states of another layout": _replace_states(lambda tensor: tensor.t()),
    "states elsewhere": _replace_states(lambda tensor: tensor + 0.25),
    "a gradient transposed where it is": lambda optimizer, params: _set_data(params[0].grad),
    "a gradient of another layout": lambda optimizer, params: setattr(params[0], "grad", params[0].grad.t()),
    "a gradient in another precision": lambda optimizer, params: _widen(params[0].grad),
    "a gradient given up": lambda optimizer, params: setattr(params[0], "grad", None),
    "gradients elsewhere": lambda optimizer, params: [setattr(p, "grad", p.grad + 0.25) for p in params],
    "a gradient elsewhere": lambda optimizer, params: setattr(params[1], "grad", params[1].grad + 0.25),
    "a parameter elsewhere": lambda optimizer, params: setattr(params[2], "data", params[2].data + 0.25),
    "a parameter transposed where it is": lambda optimizer, params: _set_data(params[0]),
    "a new state dict": _new_dict,
    "state dicts swapped": _swap_dicts,
    "states in another order": _reorder,
    "a state deleted": _forget_one,
    "a state of nobody's": _foreign_entry,
    "gradients swapped": _swap_gradients,
    "a parameter that shares its gradient": lambda optimizer, params: setattr(params[0], "grad", params[1].grad),
}


HARMLESS = ("nothing", "a gradient in another precision", "states in another order", "a state of nobody's")


def _results(change, backend, *, maximize_odd=False, skipped=False):
    """Parameters and states after a change in the middle of some steps whose gradients stay where they are."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(6, 6)) for _ in range(4)]
    groups = [{"params": [p], "maximize": maximize_odd and i % 2 == 1} for i, p in enumerate(params)]
    optimizer = AdamW(groups, lr=0.1, backend=backend, skip_nonfinite=skipped)
    for param in params:
        param.grad = torch.randn(6, 6)
    for step in range(5):
        if step == 3:
            change(optimizer, params)
            if skipped:
                kept = [param.grad for param in params]
                params[1].grad = torch.full_like(params[1], torch.nan)
                optimizer.step()
                for param, grad in zip(params, kept, strict=True):
                    param.grad = grad
        optimizer.step()
    assert optimizer.skipped_steps == skipped
    return [*params, *[optimizer.state[param][name] for param in params for name in ("exp_avg", "exp_avg_sq", "step")]]


@pytest.mark.parametrize("guards", [True, False], ids=["guards", "plain"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change, guards, backend, monkeypatch):
    if not guards:
        monkeypatch.setattr(tensor_facts, "tensor_guards", lambda: None)
    expected = _results(CHANGES[change], "eager")
    assert_close(_results(CHANGES[change], backend), expected)
    same = all(map(torch.equal, expected, _results(CHANGES["nothing"], "eager")))
    assert same == (change in HARMLESS)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_where_buckets_are_interleaved(change, backend):
    expected = _results(CHANGES[change], "eager", maximize_odd=True)
    assert_close(_results(CHANGES[change], backend, maximize_odd=True), expected)


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "a gradient in another precision"])
def test_a_change_before_a_step_that_is_skipped_is_noticed_after_it(change, backend):
    expected = _results(CHANGES[change], "eager", skipped=True)
    assert_close(_results(CHANGES[change], backend, skipped=True), expected)


def test_a_gradient_of_another_shape_is_refused_before_anything_is_changed(backend):
    params = [torch.nn.Parameter(torch.ones(2, 6)) for _ in range(2)]
    optimizer = AdamW(params, lr=0.1, backend=backend)
    for param in params:
        param.grad = torch.ones(2, 6)
    optimizer.step()
    before = [tensor.clone() for tensor in (*params, *(optimizer.state[param]["step"] for param in params))]
    for shape in ((6, 2), (1, 6), (12,)):
        params[1].grad.data = torch.ones(shape)
        with pytest.raises(RuntimeError, match=r"a parameter of shape \(2, 6\) has a gradient of shape"):
            optimizer.step()
        after = (*params, *(optimizer.state[param]["step"] for param in params))
        assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize(
    "change", [lambda tensor: tensor.resize_(5), lambda tensor: setattr(tensor, "data", tensor[:5])]
)
def test_a_state_that_shrinks_where_it_is_is_refused(change, name, backend):
    param = torch.nn.Parameter(torch.ones(10))
    optimizer = AdamW([param], lr=0.1, backend=backend)
    param.grad = torch.ones(10)
    for _ in range(2):
        optimizer.step()
    before = param.detach().clone()
    change(optimizer.state[param][name])
    for _ in range(2):  # and not let through the second time
        with pytest.raises(RuntimeError, match=f"AdamW: the state '{name}' of a parameter of shape"):
            optimizer.step()
    assert torch.equal(param, before)


def test_gradients_that_are_alike_are_not_asked_in_python_where_they_are(backend, monkeypatch):
    if backend != "triton":
        pytest.skip("other backends do not ask for gradients' addresses")
    asked = []
    original = addresses.read_plainly
    monkeypatch.setattr(addresses, "read_plainly", lambda column: asked.append(column) or original(column))
    params = [torch.nn.Parameter(torch.ones(6)) for _ in range(3)]
    optimizer = AdamW(params, backend=backend)
    for step in range(4):
        asked.clear()
        for param in params:
            param.grad = torch.ones(6)
        if step == 3:
            params[0].grad = torch.ones(12)[::2]
        optimizer.step()
        in_python = any(column[0] is params[0].grad for column in asked)
        assert in_python == (step in (0, 3))
