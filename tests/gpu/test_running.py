"""How a step runs: it never waits for the device, follows the current stream and device, and takes no memory."""

import contextlib

import pytest
import torch

from tests.gpu.common import DEVICE, assert_close, assert_same_bits, make_params, numbers, set_gradients, take_steps
from torchopt_notes import SGD, Adam, AdamW

MODES = {"host-counts": {}, "capturable": {"capturable": True}, "fused": {"fused": True}}


@contextlib.contextmanager
def waiting_is_an_error():
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def test_waiting_would_be_noticed():
    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchronizing"):
        torch.ones(1, device=DEVICE).item()


@pytest.mark.parametrize("new_gradients", [False, True], ids=["same-gradients", "new-gradients"])
@pytest.mark.parametrize("mode", MODES)
def test_a_step_never_waits(mode, new_gradients):
    params = make_params()
    optimizer = AdamW(params, backend="triton", **MODES[mode])
    take_steps(optimizer, params, range(2))
    with waiting_is_an_error():
        for step in range(4):
            if new_gradients:
                optimizer.zero_grad(set_to_none=True)
                for param in params:
                    param.grad = torch.ones_like(param)
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            optimizer.step()
    assert optimizer.state[params[0]]["step"].item() == 6


@pytest.mark.parametrize("fused", [False, True], ids=["default", "fused"])
def test_a_step_without_a_count_never_waits(fused):
    params = make_params()
    optimizer = SGD(params, lr=0.1, momentum=0.9, fused=fused, backend="triton")
    take_steps(optimizer, params, range(2))
    with waiting_is_an_error():
        for _ in range(3):
            optimizer.step()


@pytest.mark.parametrize("optimizer_class", [SGD, AdamW])
def test_a_learning_rate_on_the_device_is_never_read(optimizer_class):
    params = make_params()
    lr = torch.tensor(0.1, device=DEVICE)
    optimizer = optimizer_class(params, lr=lr, backend="triton")
    take_steps(optimizer, params, range(2))
    with waiting_is_an_error():
        for step in range(3):
            lr.fill_(0.1 / (step + 1))
            optimizer.step()


@pytest.mark.parametrize("mode", MODES)
def test_gradients_that_come_and_go_never_wait(mode):
    """Every other step finds one parameter without a gradient, and is planned anew."""
    params = make_params()
    optimizer = AdamW(params, backend="triton", **MODES[mode])
    take_steps(optimizer, params, range(2))
    kept = params[2].grad
    with waiting_is_an_error():
        for step in range(4):
            params[2].grad = kept if step % 2 else None
            optimizer.step()
    assert [optimizer.state[params[i]]["step"].item() for i in (1, 2)] == [6, 4]


@pytest.mark.parametrize("mode", MODES)
def test_a_step_takes_no_memory(mode):
    params = [torch.nn.Parameter(torch.randn(25_000_000, device=DEVICE))]
    optimizer = AdamW(params, backend="triton", **MODES[mode])
    params[0].grad = torch.ones_like(params[0])
    for _ in range(3):
        optimizer.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        optimizer.step()
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < 16 * 1024


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_ordered_with_the_work_of_a_side_stream(mode):
    """The gradients arrive late on that stream. A step on any other one would read what they were before."""
    results = []
    for late in (False, True):
        params = make_params()
        optimizer = AdamW(params, lr=0.1, backend="triton", **MODES[mode])
        take_steps(optimizer, params, range(2))
        late_values = [torch.full_like(param, 0.5) for param in params]
        stream = torch.cuda.Stream() if late else torch.cuda.current_stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            if late:
                torch.cuda._sleep(200_000_000)
            for param, value in zip(params, late_values, strict=True):
                param.grad.copy_(value)
            optimizer.step()
            seen = [param.detach().clone() for param in params]
        stream.synchronize()
        results.append([*seen, *numbers(optimizer)])
    assert_same_bits(*results)


def test_many_steps_ahead_of_the_device():
    """The host runs ahead by more steps than it has buffers: none may be overwritten before it was copied."""
    results = []
    for ahead in (False, True):
        params = make_params()
        optimizer = Adam(params, backend="triton")
        take_steps(optimizer, params, range(2))
        torch.cuda.synchronize()
        if ahead:
            torch.cuda._sleep(400_000_000)
        gradients = [[torch.full_like(param, 0.1 * (step + 1)) for param in params] for step in range(40)]
        for step in range(40):
            optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            for param, gradient in zip(params, gradients[step], strict=True):
                param.grad = gradient
            optimizer.step()
            if not ahead:
                torch.cuda.synchronize()
        results.append(numbers(optimizer))
    assert_same_bits(*results)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("mode", MODES)
def test_parameters_on_another_device_than_the_current_one(mode):
    results = []
    for devices in (["cuda:0"], ["cuda:1"], ["cuda:0", "cuda:1"]):
        params = [param for device in devices for param in make_params(device=device)]
        optimizer = AdamW(params, lr=0.1, backend="triton", **MODES[mode])
        for seed in range(3):
            for i in range(0, len(params), len(params) // len(devices)):
                set_gradients(params[i : i + len(params) // len(devices)], seed)
            optimizer.step()
        assert torch.cuda.current_device() == 0
        results.append(params)
    assert_close(results[0], results[1])
    assert_close([*results[0], *results[0]], results[2])
