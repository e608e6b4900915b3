"""What a step launches, and what it compiles."""

import pytest
import torch

from tests.gpu.common import DEVICE, make_params, mixed_params, take_steps
from torchopt_notes import SGD, Adam, AdamW


def in_groups(params, count):
    return [{"params": params[i::count], "lr": 0.001 * (i + 1)} for i in range(count)]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, ["update_bucket"]),
        ({"capturable": True}, ["refresh_rows", "update_bucket"]),
        ({"fused": True}, ["refresh_rows", "update_bucket"]),
    ],
    ids=["host-counts", "capturable", "fused"],
)
def test_one_launch_for_many_tensors(kwargs, expected, launched):
    optimizer = AdamW(in_groups(mixed_params(200), 3), backend="triton", **kwargs)
    for _ in range(2):
        optimizer.step()
    assert launched(optimizer.step) == expected


@pytest.mark.parametrize("groups", [3, 100])
def test_one_launch_per_dtype(groups, launched):
    params = [*mixed_params(100), *mixed_params(100, torch.bfloat16)]
    optimizer = Adam(in_groups(params, groups), backend="triton")
    for _ in range(2):
        optimizer.step()
    assert launched(optimizer.step) == ["update_bucket"] * 2


def test_one_launch_for_hundreds_of_groups(launched):
    params = [*mixed_params(463), *mixed_params(2, torch.bfloat16)]
    optimizer = AdamW(in_groups(params, 465), backend="triton")
    for _ in range(2):
        optimizer.step()
    assert launched(optimizer.step) == ["update_bucket"] * 2


def test_new_gradients_and_a_new_learning_rate_launch_nothing_more(launched):
    params = mixed_params(50)
    optimizer = AdamW(params, backend="triton")
    for _ in range(2):
        optimizer.step()
    fresh = [torch.ones_like(param) for param in params]

    def step():
        for param, gradient in zip(params, fresh, strict=True):
            param.grad = gradient
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.step()

    torch.cuda.synchronize()
    assert launched(step) == ["update_bucket"]


def test_unaligned_tensors_add_one_launch(launched):
    flat = torch.zeros(4001, device=DEVICE)
    params = [torch.nn.Parameter(flat[1:2001]), *mixed_params(5)]
    params[0].grad = torch.ones_like(params[0])
    optimizer = AdamW(params, backend="triton")
    for _ in range(2):
        optimizer.step()
    assert launched(optimizer.step) == ["update_bucket"] * 2


def test_empty_parameters_alone_launch_nothing(launched):
    param = torch.nn.Parameter(torch.empty(0, 3, device=DEVICE))
    param.grad = torch.empty(0, 3, device=DEVICE)
    optimizer = AdamW([param], backend="triton")
    optimizer.step()
    assert launched(optimizer.step) == []


def compiled_kernels():
    """How many variants of the kernels Triton has compiled in this process."""
    from torchopt_notes.kernels import skeleton

    kernels = (skeleton.update_bucket, skeleton.refresh_rows)
    if not all(hasattr(kernel, "device_caches") for kernel in kernels):
        pytest.skip("this version of Triton keeps its compiled kernels where the test does not look")
    # Not by Triton's compile hooks: they write the arguments as JSON, which functions and dtypes in tuples are not.
    # What was compiled comes first in a device's caches, whatever else a version keeps there.
    return sum(len(caches[0]) for kernel in kernels for caches in kernel.device_caches.values())


@pytest.mark.parametrize("kwargs", [{}, {"capturable": True}, {"fused": True}], ids=str)
def test_changing_numbers_compile_nothing(kwargs):
    params = make_params()
    optimizer = AdamW(params, backend="triton", **kwargs)
    take_steps(optimizer, params, [0])
    before = compiled_kernels()
    assert before > 0
    for step in range(20):
        optimizer.param_groups[0].update(
            lr=1.0 if step == 3 else 0.1 / (step + 1),
            betas=(0.9 - 0.01 * step, 0.99 - 0.001 * step),
            eps=1e-8 * (step + 1),
            weight_decay=1 if step == 4 else 0.01 * (step + 1),
        )
        take_steps(optimizer, params, [step])
    assert compiled_kernels() == before


def test_other_sizes_compile_nothing():
    take_steps(SGD(params := make_params([(5,), (6,)]), backend="triton"), params, [0])
    before = compiled_kernels()
    for sizes in ([(16,), (32,)], [(1,), (4096,)], [(1000, 1000), (3,)]):
        take_steps(SGD(params := make_params(sizes), backend="triton"), params, [0])
    assert compiled_kernels() == before


def test_other_numbers_of_tensors_compile_nothing():
    """1, and multiples of 16, are what Triton specialises on when it is not told otherwise."""
    # Flags that no other test combines, or its kernels would be there already.
    flags = {"amsgrad": True, "maximize": True, "weight_decay": 0.1, "capturable": True, "backend": "triton"}
    take_steps(Adam(params := make_params([(5,)] * 7), **flags), params, [0])
    before = compiled_kernels()
    for count in (1, 2, 16, 17):
        take_steps(Adam(params := make_params([(5,)] * count), **flags), params, [0])
    assert compiled_kernels() == before


def test_a_new_flag_compiles_once():
    params = make_params()
    take_steps(SGD(params, nesterov=True, momentum=0.9, maximize=True, backend="triton"), params, [0, 1])
    before = compiled_kernels()
    take_steps(SGD(params, nesterov=False, momentum=0.9, maximize=True, backend="triton"), params, [0, 1])
    assert compiled_kernels() == before + 1
