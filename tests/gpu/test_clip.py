"""The free functions for clipping on a GPU: parity, launches, order, and that nothing waits."""

import math

import pytest
import torch

from tests.gpu.common import DEVICE, SHAPES, assert_same_bits, make_params, mixed_params, set_gradients
from tests.gpu.test_running import waiting_is_an_error
from torchopt_notes.clip import (
    adaptive_clip_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)

utils = torch.nn.utils
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NORM_RTOL = {torch.float32: 1e-6, torch.float64: 1e-13, torch.bfloat16: 2**-6, torch.float16: 2**-9}
ELEMENTS = 2**31 + 5


def twins(dtype=torch.float32, shapes=SHAPES, *, seed=0, devices=(DEVICE, DEVICE)):
    """The same parameters with the same gradients, on each device."""
    made = [make_params(shapes, dtype=dtype, device=device) for device in devices]
    for params in made:
        set_gradients(params, seed)
    return made


def gradients(params):
    return [param.grad for param in params]


def with_known_norm(params):
    clip_grads_with_norm_(params, 0.37, torch.tensor(7.7, device=params[0].device))


FUNCTIONS = {
    "get_total_norm": lambda params: get_total_norm(gradients(params)),
    "clip_grad_norm_": lambda params: clip_grad_norm_(params, 0.37),
    "clip_grads_with_norm_": with_known_norm,
    "clip_grad_value_": lambda params: clip_grad_value_(params, 0.37),
    "adaptive_clip_grad_": adaptive_clip_grad_,
}
LAUNCHES = {
    "get_total_norm": ["sum_bucket", "decide"],
    "clip_grad_norm_": ["sum_bucket", "decide", "scale_bucket"],
    "clip_grads_with_norm_": ["decide", "scale_bucket"],
    "clip_grad_value_": ["clamp_bucket"],
    "adaptive_clip_grad_": ["measure_units", "finish_units", "scale_units"],
}


@pytest.mark.parametrize("order", [1, 2, 3.0, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_norm_is_torchs(dtype, order):
    shapes = [shape for shape in SHAPES if 0 not in shape]
    ours, theirs = twins(dtype, shapes)
    total = clip_grad_norm_(ours, 0.37, order)
    expected = utils.clip_grad_norm_(theirs, 0.37, order)
    assert (total.dtype, total.device, total.dim()) == (expected.dtype, expected.device, 0)
    torch.testing.assert_close(total, expected, rtol=NORM_RTOL[dtype], atol=0)
    for p, q in zip(ours, theirs, strict=True):
        subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        torch.testing.assert_close(p.grad, q.grad, rtol=2 * NORM_RTOL[dtype], atol=subnormal)


@pytest.mark.parametrize("given", [0.0, 0.3, 7.7, 1234.5, math.inf, math.nan])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_given_the_norm_every_bit_is_what_torch_has_on_a_cpu(dtype, given):
    on_gpu, on_cpu = twins(dtype, devices=(DEVICE, "cpu"))
    clip_grads_with_norm_(on_gpu, 0.37, torch.tensor(given, dtype=dtype, device=DEVICE))
    utils.clip_grads_with_norm_(on_cpu, 0.37, torch.tensor(given, dtype=dtype))
    for p, q in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_clipped_as_in_torch(dtype):
    ours, theirs = twins(dtype)
    for params in (ours, theirs):
        params[2].grad[:3] = torch.tensor([math.nan, math.inf, -math.inf])
    clip_grad_value_(ours, 1 / 3)
    utils.clip_grad_value_(theirs, 1 / 3)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_units_are_clipped_as_on_a_cpu(dtype):
    on_gpu, on_cpu = twins(dtype, devices=(DEVICE, "cpu"))
    for params in (on_gpu, on_cpu):
        adaptive_clip_grad_(params, clip_factor=0.5)
    for p, q in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=max(1e-6, torch.finfo(dtype).eps), atol=1e-7)


def test_a_wrong_norm_would_be_noticed():
    ours, theirs = twins()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            clip_grad_norm_(ours, 1.0, 2.1), utils.clip_grad_norm_(theirs, 1.0), rtol=NORM_RTOL[torch.float32], atol=0
        )


def test_complex_gradients():
    values = torch.randn(1000, dtype=torch.complex64)
    results = []
    for function in (clip_grad_norm_, utils.clip_grad_norm_):
        for order in (1, 2):
            param = torch.nn.Parameter(torch.zeros(1000, dtype=torch.complex64, device=DEVICE))
            param.grad = values.to(DEVICE, copy=True)
            results.append((function(param, 0.37, order), param.grad))
    for ours, theirs in zip(results[:2], results[2:], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_launches(name, launched):
    """As many for 200 tensors as for one."""
    params = mixed_params(200)
    FUNCTIONS[name](params)
    assert launched(lambda: FUNCTIONS[name](params)) == LAUNCHES[name]


def test_launches_for_two_dtypes(launched):
    params = [*mixed_params(100), *mixed_params(100, torch.bfloat16)]
    clip_grad_norm_(params, 1.0)
    expected = ["sum_bucket", "sum_bucket", "decide", "scale_bucket", "scale_bucket"]
    assert launched(lambda: clip_grad_norm_(params, 1.0)) == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_waits(name):
    """Neither for gradients that were seen before, nor for new ones, nor for other sizes."""
    FUNCTIONS[name](twins()[0])
    _, same = twins()
    fewer = [param for param in twins(seed=1)[0] if param.dim() == 1]
    given = torch.tensor(7.7, device=DEVICE)
    with waiting_is_an_error():
        for params in (same, same, fewer):
            if name == "clip_grads_with_norm_":
                clip_grads_with_norm_(params, 0.37, given)
            else:
                FUNCTIONS[name](params)


def test_only_the_error_waits():
    params, _ = twins()
    clip_grad_norm_(params, 1.0)
    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchronizing"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    params[0].grad.fill_(math.nan)
    with pytest.raises(RuntimeError, match="non-finite, so it cannot be clipped"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_order_of_a_side_stream(name):
    """The gradients arrive late on that stream; a launch on any other one would read what they were before."""
    results = []
    for late in (False, True):
        params, others = twins()
        FUNCTIONS[name](others)
        values = [torch.full_like(param, 0.5) for param in params]
        stream = torch.cuda.Stream() if late else torch.cuda.current_stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            if late:
                torch.cuda._sleep(200_000_000)
            for param, value in zip(params, values, strict=True):
                param.grad.copy_(value)
            total = FUNCTIONS[name](params)
            seen = [*map(torch.clone, gradients(params)), *([] if total is None else [total])]
        stream.synchronize()
        results.append(seen)
    assert_same_bits(*results)


def test_many_calls_ahead_of_the_device():
    """The host runs ahead; what it wrote for one call must not be overwritten by the next."""
    results = []
    for ahead in (False, True):
        made = [twins(seed=seed)[0] for seed in range(40)]
        clip_grad_norm_(made[0], 100.0)
        torch.cuda.synchronize()
        if ahead:
            torch.cuda._sleep(400_000_000)
        for i, params in enumerate(made):
            clip_grad_norm_(params, 0.1 * (i + 1))
            adaptive_clip_grad_(params, 0.01 * (i + 1))
            clip_grad_value_(params, 0.01 * (i + 1))
            if not ahead:
                torch.cuda.synchronize()
        results.append([grad for params in made for grad in gradients(params)])
    assert_same_bits(*results)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_capture_in_a_cuda_graph(name):
    """Torch's operations run there: kernels would keep addresses that only one call knows of."""
    params, reference = twins()
    given = torch.tensor(7.7, device=DEVICE)

    def clip(params):
        if name == "clip_grads_with_norm_":
            return clip_grads_with_norm_(params, 0.37, given)
        return FUNCTIONS[name](params)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        clip(params)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total = clip(params)
    for seed in (1, 2):
        for param, other in zip(params, twins(seed=seed)[0], strict=True):
            param.grad.copy_(other.grad)
        set_gradients(reference, seed)
        graph.replay()
        expected = clip(reference)
        for p, q in zip(params, reference, strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-7)
        if total is not None:
            torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("first", [DEVICE, "cpu"])
def test_gradients_on_several_devices(first):
    second = "cpu" if first == DEVICE else DEVICE
    results = []
    for function in (clip_grad_norm_, utils.clip_grad_norm_):
        params = [param for device in (first, second) for param in twins(devices=(device,))[0]]
        total = function(params, 0.37)
        assert total.device.type == first
        results.append([total, *gradients(params)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_gpu_than_the_current_one(name):
    first, second = twins(devices=("cuda:0", "cuda:1"))
    both = [param for params in twins(devices=("cuda:0", "cuda:1")) for param in params]
    for params in (first, second, both):
        FUNCTIONS[name](params)
    assert torch.cuda.current_device() == 0
    assert_same_bits([grad.cpu() for grad in gradients(first)], [grad.cpu() for grad in gradients(second)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory(name):
    """Partial sums and chunk maps: a thousandth of the gradients."""
    (params,) = twins(shapes=[(5000, 5000)], devices=(DEVICE,))
    FUNCTIONS[name](params)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    FUNCTIONS[name](params)
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < 256 * 1024


@pytest.fixture
def free_memory():
    torch.cuda.empty_cache()
    yield torch.cuda.mem_get_info()[0]
    torch.cuda.empty_cache()


def test_more_elements_than_32_bits_count(free_memory):
    needed = 2 * ELEMENTS + 2**30
    if free_memory < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of GPU memory, {free_memory / 2**30:.0f} are free")
    param = torch.nn.Parameter(torch.ones(ELEMENTS, dtype=torch.bfloat16, device=DEVICE))
    param.grad = param.detach()  # nobody looks at the parameter
    places = [0, 1, 2**31 - 1, 2**31, ELEMENTS - 1]
    total = clip_grad_norm_(param, 2.0**14)
    assert total.item() == torch.tensor(math.sqrt(ELEMENTS)).bfloat16().item()
    assert {param.grad[place].item() for place in places} == {(2**14 / total.cpu()).item()}
    clip_grad_value_(param, 0.125)
    assert {param.grad[place].item() for place in places} == {0.125}
