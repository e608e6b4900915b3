"""What users of torch.optim.Optimizer rely on, on every backend that runs in this process."""

import copy
import io
import pickle

import pytest
import torch

from tests.backends import BACKENDS
from tests.choice import each_case
from torchopt_notes import SGD, Adam, AdamW, Momentum
from torchopt_notes.testing import assert_parity, random_gradients

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
SHAPES = [(5, 3), (100,), (), (2, 3, 4, 5)]
TWINS = {"sgd": (SGD, torch.optim.SGD, {"momentum": 0.9}), "adamw": (AdamW, torch.optim.AdamW, {"amsgrad": True})}


def make_params(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def set_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)


def take_steps(optimizer, params, seeds):
    for seed in seeds:
        set_gradients(params, seed)
        optimizer.step()


def assert_close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@each_case(torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex64)
def test_parity_with_the_reference(case, dtype, backend):
    """Within its units in every step, while the learning rate changes at each."""
    steps = 3 if backend == "triton" else 10
    assert_parity(
        case.optimizer,
        case.reference or case.optimizer,
        kwargs=case.kwargs,
        candidate_kwargs={"backend": backend},
        dtype=dtype,
        shapes=case.shapes,
        steps=steps,
        ulp=case.units,
        lr_schedule=lambda step: 0.1 / step,
    )


@pytest.mark.parametrize("kind", TWINS)
def test_gradients_that_are_late_or_come_and_go(kind, backend):
    ours, theirs, kwargs = TWINS[kind]

    def irregular(step, index, param, generator):
        gradient = random_gradients(step, index, param, generator)
        return None if (index == 1 and step < 3) or (index == 2 and step % 2) or index == 3 else gradient

    assert_parity(
        ours,
        theirs,
        kwargs=kwargs,
        candidate_kwargs={"backend": backend},
        steps=6,
        ulp=2,
        gradients=irregular,
        shapes=SHAPES,
    )


@pytest.mark.parametrize("kind", TWINS)
def test_checkpoints_interchange_with_torch_in_the_middle_of_a_run(kind, backend):
    ours, theirs, kwargs = TWINS[kind]
    expected_params = make_params()
    take_steps(theirs(expected_params, lr=0.1, **kwargs), expected_params, range(6))

    params = make_params()
    first = theirs(params, lr=0.1, **kwargs)
    take_steps(first, params, range(2))
    second = ours(params, lr=9.0, backend=backend, **kwargs)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    take_steps(second, params, range(2, 4))
    third = theirs(params, lr=9.0, **kwargs)
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    take_steps(third, params, range(4, 6))

    if backend == "eager":
        assert all(torch.equal(a, b) for a, b in zip(params, expected_params, strict=True))
    assert_close(params, expected_params)
    assert first.state_dict()["param_groups"][0].keys() == second.state_dict()["param_groups"][0].keys()


@pytest.mark.parametrize("kind", TWINS)
def test_the_backend_can_be_switched_between_steps(kind, backend):
    ours, _, kwargs = TWINS[kind]
    expected, params = make_params(), make_params()
    take_steps(ours(expected, lr=0.1, backend="eager", **kwargs), expected, range(6))
    optimizer = ours(params, lr=0.1, backend="eager", **kwargs)
    for seed, name in enumerate(["eager", backend, backend, "eager", backend, "eager"]):
        optimizer.backend = name
        take_steps(optimizer, params, [seed])
    assert_close(params, expected)


def test_copies_go_on_where_the_original_was(backend):
    params = make_params()
    optimizer = AdamW(params, lr=0.1, backend=backend)
    take_steps(optimizer, params, range(2))
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    take_steps(optimizer, params, [7])
    for other in copies:
        assert other.backend == backend
        other_params = other.param_groups[0]["params"]
        assert not torch.equal(other_params[0], params[0])
        take_steps(other, other_params, [7])
        assert_close(other_params, params)


def test_a_group_added_after_steps(backend):
    ours, theirs = make_params(), make_params()
    optimizers = [AdamW(ours[:2], lr=0.1, backend=backend), torch.optim.AdamW(theirs[:2], lr=0.1)]
    for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
        take_steps(optimizer, params[:2], range(2))
        optimizer.add_param_group({"params": params[2:], "lr": 0.01, "weight_decay": 0.5})
        take_steps(optimizer, params, range(2, 4))
    assert_close(ours, theirs)


def test_many_groups(backend):
    ours, theirs = make_params(), make_params()
    for optimizer_class, params, extra in ((Adam, ours, {"backend": backend}), (torch.optim.Adam, theirs, {})):
        groups = [{"params": [p], "lr": 0.1 * (i + 1), "betas": (0.5 + 0.1 * i, 0.9)} for i, p in enumerate(params)]
        take_steps(optimizer_class(groups, **extra), params, range(3))
    assert_close(ours, theirs)


def test_states_and_parameters_that_move_between_steps(backend):
    expected, params = make_params(), make_params()
    take_steps(AdamW(expected, lr=0.1, backend="eager"), expected, range(5))
    optimizer = AdamW(params, lr=0.1, backend=backend)
    for seed in range(5):
        take_steps(optimizer, params, [seed])
        for param in params:
            state = optimizer.state[param]
            if seed % 2:
                optimizer.state[param] = {name: value.clone() for name, value in state.items()}
            else:
                state["exp_avg"].data = state["exp_avg"].clone()
                param.data = param.detach().clone()
    assert_close(params, expected)
    assert optimizer.state[params[0]]["step"].item() == 5


def test_a_step_count_that_a_user_changes(backend):
    results = []
    for name in ("eager", backend):
        params = make_params()
        optimizer = Adam(params, lr=0.1, backend=name)
        take_steps(optimizer, params, range(2))
        optimizer.state[params[1]]["step"].fill_(100)
        take_steps(optimizer, params, range(2, 4))
        assert [optimizer.state[param]["step"].item() for param in params] == [4, 102, 4, 4]
        results.append(params)
    assert_close(*results)


def test_autograd_notices_the_update(backend):
    weight = torch.nn.Parameter(torch.ones(20))
    optimizer = SGD([weight], lr=0.1, backend=backend)
    loss = (weight * weight).sum()
    weight.grad = torch.ones(20)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_closure_runs_with_gradients_and_its_loss_is_returned(backend):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], lr=0.1, backend=backend)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 3
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.8))


def test_hooks_and_the_profiler_label(backend):
    params = make_params()
    optimizer, calls = AdamW(params, backend=backend), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    optimizer.register_state_dict_pre_hook(lambda *_: calls.append("save"))
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("load"))
    with torch.profiler.profile() as profile:
        take_steps(optimizer, params, [0])
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["pre", "post", "save", "load"]
    assert any(event.key == "Optimizer.step#AdamW.step" for event in profile.key_averages())


def test_a_refused_step_changes_nothing(backend):
    params = [torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2)]
    optimizer = Adam(params, backend=backend)
    params[0].grad = torch.ones(5, 3)
    params[1].grad = torch.sparse_coo_tensor([[0]], torch.ones(1, 3), (5, 3))
    with pytest.raises(RuntimeError, match="Adam does not support sparse gradients"):
        optimizer.step()
    assert all(torch.equal(param, torch.ones(5, 3)) for param in params)
    assert not optimizer.state


def test_checkpoints_load_with_weights_only_and_keep_their_dtypes(backend):
    params = make_params(dtype=torch.bfloat16)
    optimizer = AdamW(params, lr=0.1, backend=backend)
    take_steps(optimizer, params, range(2))
    saved = optimizer.state_dict()
    wide = copy.deepcopy(saved)
    for state in wide["state"].values():
        state["exp_avg"] = state["exp_avg"].float() + 1e-6
    buffer = io.BytesIO()
    torch.save(wide, buffer)
    buffer.seek(0)
    other = AdamW(params, lr=0.1, backend=backend)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    state = other.state[params[0]]
    assert state["exp_avg"].dtype == torch.float32
    assert torch.equal(state["exp_avg"], wide["state"][0]["exp_avg"])
    assert state["exp_avg_sq"].dtype == torch.bfloat16
    take_steps(other, params, [3])
    assert other.state[params[0]]["exp_avg"].dtype == torch.float32


def test_checkpoints_of_older_versions(backend):
    params = make_params()
    optimizer = AdamW(params, lr=0.1, backend=backend)
    take_steps(optimizer, params, range(3))
    old = copy.deepcopy(optimizer.state_dict())
    for state in old["state"].values():
        state["step"] = int(state["step"].item())
    for key in ("maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        del old["param_groups"][0][key]
    other_params = [torch.nn.Parameter(param.detach().clone()) for param in params]
    other = AdamW(other_params, lr=0.1, backend=backend)
    other.load_state_dict(old)
    take_steps(optimizer, params, [5])
    take_steps(other, other_params, [5])
    assert_close(other_params, params)
    assert other.state[other_params[0]]["step"].item() == 4


def test_a_buffer_that_was_saved_as_none(backend):
    params = make_params()
    optimizer = SGD(params, lr=0.1, momentum=0.9, dampening=0.5, backend=backend)
    saved = optimizer.state_dict()
    saved["state"] = {i: {"momentum_buffer": None} for i in range(len(params))}
    optimizer.load_state_dict(saved)
    take_steps(optimizer, params, [0])
    assert torch.equal(optimizer.state[params[0]]["momentum_buffer"], params[0].grad)


def test_a_compiled_training_step_leaves_the_optimizer_outside(backend):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    twin = copy.deepcopy(model)
    optimizer, plain = AdamW(model.parameters(), lr=0.1, backend=backend), torch.optim.AdamW(twin.parameters(), lr=0.1)
    x = torch.randn(8, 4)

    def train(model, optimizer):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = torch.compile(train, backend="eager")
    for _ in range(3):
        torch.testing.assert_close(compiled(model, optimizer), train(twin, plain))
    assert_close(model.parameters(), twin.parameters())


def test_capturable_reads_nothing_on_the_host(backend):
    results = []
    for extra in ({"backend": "eager"}, {"backend": backend, "capturable": True}):
        params = make_params()
        optimizer = AdamW(params, lr=torch.tensor(0.1), **extra)
        for seed in range(3):
            optimizer.param_groups[0]["lr"].fill_(0.1 / (seed + 1))
            take_steps(optimizer, params, [seed])
        assert optimizer.state[params[0]]["step"].item() == 3
        results.append(params)
    assert_close(*results)


def test_explain_names_backend_and_reason(backend):
    params = make_params()
    optimizer = Momentum(zip("abcd", params, strict=True), lr=0.1, backend=backend)
    (bucket,) = optimizer.explain()
    assert bucket.parameters == ("a", "b", "c", "d")
    assert (bucket.backend, bucket.reason) == (backend, "requested")
    assert bucket.elements == sum(param.numel() for param in params)
    assert "requested" in str(optimizer.explain())
