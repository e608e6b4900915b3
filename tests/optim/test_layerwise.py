"""Rules that measure whole layers, where the answer is known without them: on every backend that runs here."""

import pytest
import torch

from tests.backends import BACKENDS
from torchopt_notes import LAMB, LARS, Adafactor, NovoGrad, StableAdamW

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
F64 = torch.float64
SHAPES = [(17, 31), (40,), (), (3, 4, 5)]


def tensors(shapes=SHAPES, seed=0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=F64).to(dtype) for shape in shapes]


def run(optimizer_class, starts, gradients, **arguments):
    """The parameters after steps with these gradients, and the optimizer."""
    params = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizer = optimizer_class(params, **arguments)
    for step in gradients:
        for param, gradient in zip(params, step, strict=True):
            param.grad = gradient.clone()
        optimizer.step()
    return [param.detach() for param in params], optimizer


def steps(n, shapes=SHAPES, dtype=F64):
    return [tensors(shapes, seed, dtype) for seed in range(1, n + 1)]


def close(actual, expected, rtol=1e-12, atol=1e-14):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def test_lamb_with_a_ratio_of_one_is_adamw(backend):
    shared = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0}
    expected, _ = run(torch.optim.AdamW, tensors(), steps(5), **shared)
    path, _ = run(LAMB, tensors(), steps(5), always_adapt=False, backend=backend, **shared)
    close(path, expected)


@pytest.mark.parametrize("decoupled", [True, False])
def test_lamb_leaves_exempt_tensors_to_adam(decoupled, backend):
    shared = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}
    ours = {**shared, "weight_decay": 0.1, "decoupled_weight_decay": decoupled}
    adam, _ = run(torch.optim.Adam, tensors(), steps(5), **shared)
    scaled, _ = run(LAMB, tensors(), steps(5), backend="eager", **ours)
    path, _ = run(LAMB, tensors(), steps(5), exempt_1d=True, backend=backend, **ours)
    for i, shape in enumerate(SHAPES):
        close(path[i], adam[i] if len(shape) < 2 else scaled[i])


@pytest.mark.parametrize("decoupled", [True, False])
def test_lars_leaves_exempt_tensors_to_sgd(decoupled, backend):
    shared = {"lr": 0.1, "momentum": 0.8, "nesterov": True}
    ours = {**shared, "weight_decay": 0.1, "trust_coefficient": 0.1, "decoupled_weight_decay": decoupled}
    sgd, _ = run(torch.optim.SGD, tensors(), steps(5), **shared)
    scaled, _ = run(LARS, tensors(), steps(5), backend="eager", **ours)
    path, _ = run(LARS, tensors(), steps(5), exempt_1d=True, backend=backend, **ours)
    for i, shape in enumerate(SHAPES):
        close(path[i], sgd[i] if len(shape) < 2 else scaled[i])


def test_weights_of_zero_step_by_the_direction_itself(backend):
    """The ratio is 1: the layer starts to move, with Adam's step, or SGD's."""
    zeros, (gradients,) = [torch.zeros(shape, dtype=F64) for shape in SHAPES], steps(1)
    path, _ = run(LAMB, zeros, [gradients], lr=0.25, eps=0, backend=backend)
    close(path, [-0.25 * gradient.sign() for gradient in gradients])
    path, _ = run(LARS, zeros, [gradients], lr=0.25, weight_decay=0.1, eps=1.0, backend=backend)
    close(path, [-0.25 * gradient for gradient in gradients])


def test_gradients_of_zero(backend):
    """The ratio is 1, whatever decay and ε say: only the decay moves weights."""
    zeros = [torch.zeros(shape, dtype=F64) for shape in SHAPES]
    path, _ = run(LAMB, tensors(), [zeros] * 2, lr=0.25, weight_decay=0, backend=backend)
    close(path, tensors())
    path, _ = run(LAMB, tensors(), [zeros], lr=0.25, weight_decay=0.5, backend=backend)  # u = λw: as long as w
    close(path, [0.75 * value for value in tensors()])
    for arguments in ({}, {"eps": 1.0, "trust_coefficient": 0.1}):
        path, _ = run(LARS, tensors(), [zeros], lr=0.25, weight_decay=0.5, backend=backend, **arguments)
        close(path, [0.875 * value for value in tensors()])
        path, _ = run(LARS, tensors(), [zeros], lr=0.25, backend=backend, **arguments)
        close(path, tensors())
    path, optimizer = run(NovoGrad, tensors(), [zeros] * 2, backend=backend)
    close(path, tensors())
    assert all(state["exp_avg_sq"] == 0 for state in optimizer.state.values())
    path, _ = run(StableAdamW, tensors(), [zeros], lr=0.25, weight_decay=0.5, backend=backend)
    close(path, [0.875 * value for value in tensors()])


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_lamb_does_not_see_the_size_of_a_layers_gradients(dtype, backend):
    """Not even in the last bit, for powers of two; of one layer alone, whatever the others do."""
    arguments = {"lr": 0.1, "eps": 0, "weight_decay": 0.1, "backend": backend}
    paths = []
    for scale in (1.0, 1024.0):
        gradients = [[scale * first, *others] for first, *others in steps(4, dtype=dtype)]
        path, _ = run(LAMB, tensors(dtype=dtype), gradients, **arguments)
        paths.append(path)
    assert all(map(torch.equal, *paths))
    assert not torch.equal(paths[0][0], tensors(dtype=dtype)[0])


def test_the_size_of_lambs_first_step(backend):
    """lr·φ(‖w‖), or lr times the direction's own size where the ratio is limited to 1."""
    start = torch.full((20, 20), 5.0, dtype=F64)  # ‖w‖ = 100; Adam's first direction has length 20
    for scale, arguments, expected in [
        (1, {}, 100),
        (1, {"clamp_value": 10.0}, 10),
        (1, {"clamp_value": 1000.0}, 100),
        (1, {"trust_clip": True}, 20),
        (1, {"trust_clip": True, "clamp_value": 10.0}, 10),
        (0.01, {"trust_clip": True}, 1),
        (0, {"trust_clip": True}, 20),
        (1, {"always_adapt": False}, 20),
    ]:
        weights = start * scale
        (path,), _ = run(
            LAMB, [weights], [[torch.ones_like(start)]], lr=0.5, eps=0, weight_decay=0, backend=backend, **arguments
        )
        assert (path - weights).norm().item() == pytest.approx(0.5 * expected, rel=1e-12), (scale, arguments)


def test_the_size_of_lars_first_step(backend):
    """lr·κ·‖w‖ without decay and ε, whatever the gradient."""
    path, _ = run(LARS, tensors(), steps(1), lr=2.0, trust_coefficient=0.25, backend=backend)
    for after, before in zip(path, tensors(), strict=True):
        assert (after - before).norm().item() == pytest.approx(0.5 * before.norm().item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_novograds_first_step_is_the_normalised_gradient(dtype, backend):
    starts, (gradients,) = tensors(dtype=dtype), steps(1, dtype=dtype)
    path, optimizer = run(NovoGrad, starts, [gradients], lr=0.25, betas=(0.9, 0.5), eps=0, backend=backend)
    rtol = 1e-12 if dtype is F64 else 1e-6
    for after, before, gradient, state in zip(path, starts, gradients, optimizer.state.values(), strict=True):
        close(after, before - 0.25 * gradient / gradient.norm(), rtol=rtol, atol=rtol)
        close(state["exp_avg_sq"], gradient.square().sum(), rtol=rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, F64], ids=str)
def test_novograds_norm_is_one_number_in_compute_precision(dtype, backend):
    _, optimizer = run(NovoGrad, tensors(dtype=dtype), steps(2, dtype=dtype), backend=backend)
    for state in optimizer.state.values():
        assert state["exp_avg_sq"].shape == ()
        assert state["exp_avg_sq"].dtype is (F64 if dtype is F64 else torch.float32)
        assert state["exp_avg"].dtype is dtype


def test_stable_adamw_is_adamw_while_gradients_do_not_grow(backend):
    """Averages free of bias are Adam's corrected ones, and falling gradients keep the root mean square below 1."""
    shared = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    gradients = [[0.8**t * gradient for gradient in tensors(seed=7)] for t in range(8)]
    expected, _ = run(torch.optim.AdamW, tensors(), gradients, **shared)
    path, _ = run(StableAdamW, tensors(), gradients, backend=backend, **shared)
    close(path, expected)


def test_stable_adamw_slows_down_when_gradients_grow(backend):
    """By the root mean square of g / √u, which is known for gradients of equal size; the decay slows down too."""
    shared = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6}
    calm = [[gradient.sign() for gradient in tensors(seed=7)]] * 9
    sudden = [[100 * gradient for gradient in calm[0]]]
    for weight_decay in (0, 0.5):
        ours, theirs = (
            [run(c, tensors(), g, weight_decay=weight_decay, **shared, **more)[0] for g in (calm, calm + sudden)]
            for c, more in ((StableAdamW, {"backend": backend}), (torch.optim.AdamW, {}))
        )
        share = 0.01 / (1 - 0.99**10)
        rms = (100**2 / (1 - share + share * 100**2)) ** 0.5
        assert 3 < rms < 3.5
        for before, after, *adamw in zip(*ours, *theirs, strict=True):
            close((after - before) * rms, adamw[1] - adamw[0], rtol=1e-9)


MATRICES = [(17, 31), (3, 5, 7), (2, 3, 4, 5), (1, 9), (9, 1), (1, 1), (40,), ()]


@pytest.mark.parametrize("extra", [{}, {"weight_decay": 0.1, "maximize": True, "eps": (0.1, 0.5), "d": 1.5}], ids=str)
def test_adafactor_is_torchs(extra, backend):
    """Whatever the number of dimensions; with states of torch's shapes and dtypes."""
    for dtype, rtol in ((F64, 1e-11), (torch.float32, 2e-5)):
        shared = {"lr": 0.1, **extra}
        problem = tensors(MATRICES, dtype=dtype), steps(4, MATRICES, dtype)
        expected, theirs = run(torch.optim.Adafactor, *problem, **shared)
        path, ours = run(Adafactor, *problem, backend=backend, **shared)
        close(path, expected, rtol=rtol, atol=rtol)
        for state, twin in zip(ours.state.values(), theirs.state.values(), strict=True):
            assert state.keys() == twin.keys()
            for name, value in state.items():
                close(value, twin[name], rtol=rtol, atol=0)  # also compares shapes and dtypes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, F64], ids=str)
def test_adafactors_states(dtype, backend):
    _, optimizer = run(Adafactor, tensors(MATRICES, dtype=dtype), steps(1, MATRICES, dtype), backend=backend)
    for shape, state in zip(MATRICES, optimizer.state.values(), strict=True):
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        factors = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, *shape[-1:])}
        assert shapes == {"step": (), **(factors if len(shape) > 1 else {"variance": shape})}
        assert {value.dtype for name, value in state.items() if name != "step"} == {dtype}
        assert state["step"].dtype is torch.float32


def test_adafactors_default_eps_is_that_of_the_parameters_dtype(backend):
    """Gradients so small that it decides, beside torch in fp32 with that ε given."""
    shapes = [(17, 31), (40,)]
    starts = tensors(shapes, dtype=torch.bfloat16)
    gradients = [[1e-3 * g for g in step] for step in steps(2, shapes, torch.bfloat16)]
    eps = torch.finfo(torch.bfloat16).eps
    default, _ = run(Adafactor, starts, gradients, lr=0.5, backend=backend)
    given, _ = run(Adafactor, starts, gradients, lr=0.5, eps=(eps, 1e-3), backend=backend)
    assert all(map(torch.equal, default, given))
    other, _ = run(Adafactor, starts, gradients, lr=0.5, eps=(torch.finfo(torch.float32).eps, 1e-3), backend=backend)
    assert not any(map(torch.equal, default, other))
    wide = [value.float() for value in starts], [[g.float() for g in gradients[0]]]
    expected, _ = run(torch.optim.Adafactor, *wide, lr=0.5, eps=(eps, 1e-3))
    first, _ = run(Adafactor, starts, gradients[:1], lr=0.5, backend=backend)
    for ours, theirs in zip(first, expected, strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=eps / 2, atol=1e-6)


LAYOUTS = {
    "transposed": lambda value: value.mT.contiguous().mT,
    "channels_last": lambda value: value.contiguous(memory_format=torch.channels_last),
    "gaps": lambda value: torch.full((*value.shape, 3), torch.nan, dtype=value.dtype)[..., 1].copy_(value),
}
RULES = [
    (LAMB, {"lr": 0.1}),
    (LARS, {"lr": 0.1, "weight_decay": 0.1}),
    (NovoGrad, {"lr": 0.1, "weight_decay": 0.1}),
    (StableAdamW, {"lr": 0.1}),
    (Adafactor, {"lr": 0.1, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("moved", ["weights", "gradients", "both"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_other_layouts(rule, arguments, layout, moved, backend):
    """What eager does with contiguous tensors, wherever the elements lie."""
    shape = (4, 6, 5, 7) if layout == "channels_last" else (13, 29)
    value, gradients = tensors([shape])[0], [step[0] for step in steps(3, [shape])]
    change = LAYOUTS[layout]
    weights = value.clone() if moved == "gradients" else change(value)
    others = gradients if moved == "weights" else list(map(change, gradients))
    results = []
    for name, start, grads in (("eager", value, gradients), (backend, weights, others)):
        param = torch.nn.Parameter(start)
        optimizer = rule([param], backend=name, **arguments)
        for gradient in grads:
            param.grad = gradient
            optimizer.step()
        assert param.stride() == start.stride()
        results.append([param.detach(), *optimizer.state[param].values()])
    close(*results)


@pytest.mark.parametrize("optimizer_class", [LAMB, LARS, NovoGrad])
def test_norms_of_many_numbers_are_exact(optimizer_class, backend):
    """Two million equal numbers, one after the other in fp32, would be off by 1e-4 and more."""
    if backend == "triton":
        pytest.skip("too much for the interpreter; tests/kernels adds up many chunks")
    value = torch.full((2_000_000,), 0.1)
    weight = torch.nn.Parameter(value.clone())
    weight.grad = value.clone()
    arguments = {"trust_coefficient": 1.0} if optimizer_class is LARS else {"weight_decay": 0}
    optimizer_class([weight], lr=0.5, backend=backend, **arguments).step()
    # LAMB and LARS move by lr times the weights' size; NovoGrad by lr times the gradient over its norm.
    moved = 0.5 / 2_000_000**0.5 if optimizer_class is NovoGrad else 0.05
    torch.testing.assert_close(value - weight.detach(), torch.full_like(value, moved), rtol=2e-5, atol=2e-8)
