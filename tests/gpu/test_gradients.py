"""Clipping, AMP and skipped steps on a GPU: launches, no waiting, torch's results, and replays of captured steps."""

import pytest
import torch

from tests.gpu.common import (
    DEVICE,
    assert_close,
    assert_same_bits,
    make_gradients,
    make_params,
    mixed_params,
    numbers,
    set_gradients,
    take_steps,
)
from tests.gpu.test_graphs import capture
from torchopt_notes import LAMB, SGD, AdamW

TRITON = {"backend": "triton"}


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"max_grad_norm": 1.0}, ["sum_bucket", "decide", "update_bucket"]),
        ({"max_grad_value": 1.0}, ["update_bucket"]),
        ({"adaptive_clip": 0.01}, ["measure_units", "finish_units", "update_bucket"]),
        ({"l1": 0.1, "cautious_weight_decay": True}, ["update_bucket"]),
        (
            {"max_grad_norm": 1.0, "skip_nonfinite": True},
            ["sum_bucket", "decide", "refresh_rows", "update_bucket"],
        ),
    ],
    ids=["norm", "value", "adaptive", "decay", "skip"],
)
def test_launches(kwargs, expected, launched):
    optimizer = AdamW(mixed_params(200), **TRITON, **kwargs)
    for _ in range(2):
        optimizer.step()
    assert launched(optimizer.step) == expected


@pytest.mark.parametrize("cls", [AdamW, SGD, LAMB], ids=lambda cls: cls.__name__)
def test_nothing_waits(cls):
    params = make_params()
    optimizer = cls(params, lr=0.1, max_grad_norm=1.0, max_grad_value=0.5, skip_nonfinite=True, **TRITON)
    take_steps(optimizer, params, [0, 1])
    set_gradients(params, 2)
    optimizer.grad_scale, optimizer.found_inf = torch.ones(1, device=DEVICE), torch.zeros(1, device=DEVICE)
    optimizer.step()
    set_gradients(params, 3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
        norm = optimizer.grad_norm
        with pytest.raises(RuntimeError, match="synchroniz"):
            norm.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("backend", ["triton", "compiled", "eager"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clipping_is_torch_s(backend, norm_type):
    params, twins = make_params(), make_params(device="cpu")
    optimizer = AdamW(params, lr=0.1, max_grad_norm=0.5, grad_norm_type=norm_type, backend=backend)
    twin = torch.optim.AdamW(twins, lr=0.1)
    for seed in range(5):
        set_gradients(params, seed)
        set_gradients(twins, seed)
        expected = torch.nn.utils.clip_grad_norm_(twins, 0.5, norm_type)
        twin.step()
        optimizer.step()
        assert optimizer.grad_norm.device.type == "cuda"
        torch.testing.assert_close(optimizer.grad_norm.cpu(), expected, rtol=1e-6, atol=0)
    assert_close(params, twins)
    with pytest.raises(AssertionError):
        assert_close(params, make_params())


def test_the_norm_is_the_same_every_time():
    params = [torch.nn.Parameter(torch.randn(10_000_001, device=DEVICE)) for _ in range(3)]
    for param in params:
        param.grad = torch.randn_like(param)
    optimizer = SGD(params, lr=0.0, max_grad_norm=1.0, **TRITON)
    found = []
    for _ in range(5):
        optimizer.step()
        found.append(optimizer.grad_norm)
    assert len({norm.item() for norm in found}) == 1
    exact = torch.stack([param.grad.double().square().sum() for param in params]).sum().sqrt()
    torch.testing.assert_close(found[0].double(), exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("backend", ["triton", "compiled", "eager"])
@pytest.mark.parametrize("overflows", [(0,), (2, 3), (0, 1, 4)], ids=str)
def test_a_scaler_finds_overflows(backend, overflows):
    """The first step among them, and several in a row; torch's own leaves these out."""
    params, twins = make_params(), make_params()
    optimizer = AdamW(params, lr=0.1, max_grad_norm=1.0, backend=backend)
    twin = torch.optim.AdamW(twins, lr=0.1, foreach=True)
    scalers = [torch.amp.GradScaler(DEVICE, init_scale=1024.0, growth_interval=2) for _ in range(2)]
    for seed in range(6):
        for scaler, members, own in zip(scalers, (params, twins), (optimizer, twin), strict=True):
            scale = scaler.scale(torch.ones((), device=DEVICE))
            for param, gradient in zip(members, make_gradients(members, seed), strict=True):
                param.grad = gradient * scale
            if seed in overflows:
                members[3].grad[5, 7] = torch.inf
            if own is twin:
                scaler.unscale_(own)
                torch.nn.utils.clip_grad_norm_(members, 1.0)
            scaler.step(own)
            scaler.update()
        assert scalers[0].get_scale() == scalers[1].get_scale()
    assert optimizer.skipped_steps.item() == len(overflows)
    assert_close(params, twins)
    assert all(state["step"].item() == 6 - len(overflows) for state in optimizer.state.values())


def test_a_captured_step_clips_and_skips():
    """What a replay does with an inf among its gradients, and with another limit, is what an ordinary step does."""
    runs = []
    for graphed in (True, False):
        params = make_params()
        gradients = [torch.zeros_like(param) for param in params]
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient
        lr, limit = torch.tensor(0.1, device=DEVICE), torch.tensor(1.0, device=DEVICE)
        options = {"lr": lr, "max_grad_norm": limit, "skip_nonfinite": True, "capturable": True}
        optimizer = AdamW(params, **options, **TRITON)

        def load(seed, targets=gradients, lr=lr, limit=limit):
            for target, value in zip(targets, make_gradients(targets, seed), strict=True):
                target.copy_(value)
            if seed == 5:
                targets[2][7] = torch.nan
            lr.fill_(0.1 / (1 + seed))
            limit.fill_(0.5 + seed)

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for seed in range(3):
                load(seed)
                optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        replay = capture(optimizer.step).replay if graphed else optimizer.step
        for seed in range(3, 8):
            load(seed)
            replay()
        runs.append((numbers(optimizer), optimizer.grad_norm, optimizer.skipped_steps))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1].item() == runs[1][1].item()
    assert runs[0][2].item() == runs[1][2].item() == 1
