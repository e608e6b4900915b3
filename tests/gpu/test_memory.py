"""Where tensors lie: layouts, alignment, and states that leave the device between steps."""

import pytest
import torch

from tests.gpu.common import DEVICE, assert_close, make_params, numbers, set_gradients, take_steps
from torchopt_notes import SGD, Adam, AdamW

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def guarded(size, offset, dtype, value):
    """A view into a buffer that is NaN everywhere else, and the buffer."""
    buffer = torch.full((size + 2 * offset + 16,), torch.nan, dtype=dtype, device=DEVICE)
    view = buffer[offset : offset + size]
    view.copy_(value)
    return view, buffer


@pytest.mark.parametrize("offset", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_views_into_flat_buffers(dtype, offset):
    """Parameter, gradient and states alike, beside tensors that are aligned; nothing outside of a view changes."""
    sizes = [1, 7, 1023, 1024, 1025, 5000]
    results = []
    for backend in ("eager", "triton"):
        generator = torch.Generator().manual_seed(0)
        views, buffers = [], []
        for size in sizes:
            for scale in (1.0, 1.0, 0.0, 0.0):
                value = torch.randn(size, generator=generator).to(dtype) * scale
                view, buffer = guarded(size, offset, dtype, value.to(DEVICE))
                views.append(view)
                buffers.append(buffer)
        params = [torch.nn.Parameter(view) for view in views[::4]]
        others = make_params([(100,), (2000,)], dtype=dtype)
        optimizer = Adam([*params, *others], lr=0.1, backend=backend)
        for param, gradient, exp_avg, exp_avg_sq in zip(params, views[1::4], views[2::4], views[3::4], strict=True):
            param.grad = gradient
            optimizer.state[param] = {"step": torch.tensor(0.0), "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
        set_gradients(others, 0)
        for _ in range(3):
            optimizer.step()
        for buffer, size in zip(buffers, [size for size in sizes for _ in range(4)], strict=True):
            assert buffer[offset : offset + size].isfinite().all()
            assert buffer[:offset].isnan().all()
            assert buffer[offset + size :].isnan().all()
        results.append(numbers(optimizer))
    assert_close(*results, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


def laid_out(kind, value):
    """``value``, lying in memory in an unusual way."""
    if kind == "channels_last":
        return value.contiguous(memory_format=torch.channels_last)
    if kind == "transposed":
        return value.movedim(0, -1).contiguous().movedim(-1, 0)
    if kind == "gaps":
        return torch.full((*value.shape, 3), torch.nan, device=value.device)[..., 1].copy_(value)
    if kind == "expanded":
        return value[:, :1, :1].expand(value.shape)
    return value


@pytest.mark.parametrize("grad_kind", ["plain", "channels_last", "transposed", "gaps", "expanded"])
@pytest.mark.parametrize("param_kind", ["plain", "channels_last", "gaps"])
def test_layouts(param_kind, grad_kind):
    results = []
    for backend in ("eager", "triton"):
        value, *gradients = (p.detach() for seed in range(4) for p in make_params([(4, 6, 5, 7)], seed=seed))
        param = torch.nn.Parameter(laid_out(param_kind, value))
        plain = make_params([(40,)])[0]
        optimizer = AdamW([param, plain], lr=0.1, backend=backend)
        for gradient in gradients:
            param.grad, plain.grad = laid_out(grad_kind, gradient), torch.ones_like(plain)
            optimizer.step()
        assert param.stride() == laid_out(param_kind, value).stride()
        results.append(numbers(optimizer))
    assert_close(*results)


@pytest.mark.parametrize("how", ["other-tensors", "other-memory-of-the-same-tensors"])
@pytest.mark.parametrize("kwargs", [{}, {"capturable": True}, {"fused": True}], ids=str)
def test_states_that_leave_the_device_between_steps(kwargs, how):
    expected, params = make_params(), make_params()
    take_steps(AdamW(expected, lr=0.1, backend="triton", **kwargs), expected, range(4))
    optimizer = AdamW(params, lr=0.1, backend="triton", **kwargs)
    for seed in range(4):
        take_steps(optimizer, params, [seed])
        move_states(optimizer, "cpu", how)
        # What takes the place of the states must not be mistaken for them.
        poison = [torch.full_like(param, torch.nan) for param in params for _ in range(2)]
        move_states(optimizer, DEVICE, how)
        del poison
    assert_close(params, expected, rtol=0, atol=0)


def move_states(optimizer, device, how):
    for state in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            if how == "other-tensors":
                state[name] = state[name].to(device)
            else:
                state[name].data = state[name].data.to(device)


@pytest.mark.parametrize("how", ["other-tensors", "other-memory-of-the-same-tensors"])
def test_a_state_left_on_the_host_is_refused(how):
    """A kernel given its address would end the process's use of the device."""
    expected, params = make_params(), make_params()
    take_steps(AdamW(expected, lr=0.1, backend="triton"), expected, range(2))
    optimizer = AdamW(params, lr=0.1, backend="triton")
    take_steps(optimizer, params, [0])
    before = [param.detach().clone() for param in params]
    move_states(optimizer, "cpu", how)
    set_gradients(params, 1)
    with pytest.raises(RuntimeError, match="exp_avg"):
        optimizer.step()
    assert_close(params, before, rtol=0, atol=0)
    move_states(optimizer, DEVICE, how)
    optimizer.step()
    assert_close(params, expected, rtol=0, atol=0)


def test_parameters_whose_memory_is_replaced():
    expected, params = make_params(), make_params()
    take_steps(AdamW(expected, lr=0.1, backend="triton"), expected, range(3))
    optimizer = AdamW(params, lr=0.1, backend="triton")
    for seed in range(3):
        take_steps(optimizer, params, [seed])
        old = [param.data for param in params]
        for param in params:
            param.data = param.detach().clone()
        for tensor in old:
            tensor.fill_(torch.nan)
    assert_close(params, expected, rtol=0, atol=0)


@pytest.mark.parametrize("wide", [0, 1], ids=["first", "second"])
def test_states_of_two_precisions_in_one_optimizer(wide):
    """As after loading fp32 states for some of the bf16 parameters."""
    results = []
    for backend in ("eager", "triton"):
        params = make_params([(100,), (2000,)], dtype=torch.bfloat16)
        optimizer = SGD(params, lr=0.1, momentum=0.9, backend=backend)
        take_steps(optimizer, params, [0])
        state = optimizer.state[params[wide]]
        state["momentum_buffer"] = state["momentum_buffer"].float()
        take_steps(optimizer, params, [1, 2])
        assert state["momentum_buffer"].dtype == torch.float32
        results.append(numbers(optimizer))
    assert_close(*results, rtol=2e-2, atol=2e-2)
