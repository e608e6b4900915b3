"""The kernels on the GPU against torch.optim and the eager reference, step by step, within the oracle's bounds."""

import functools

import pytest
import torch

from tests.gpu.common import DEVICE, SHAPES, assert_close, make_params, numbers, take_steps
from torchopt_notes import AdamW
from torchopt_notes.testing import CASES, assert_parity

TRITON = {"backend": "triton"}
STEPS = 4
REAL = [torch.float32, torch.bfloat16, torch.float16]
# torch's fused kernels take neither complex numbers nor, in every version, empty tensors.
FUSED_SHAPES = [shape for shape in SHAPES if 0 not in shape]
FUSED = [case for case in CASES if case.reference in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)]


def changing_lr(step):
    return 0.1 / step


def by_name(case):
    return case.name


def cells(dtypes):
    """Every case with every dtype that it takes."""
    return [
        pytest.param(case, dtype, id=f"{case.name}-{dtype}") for case in CASES for dtype in dtypes if case.takes(dtype)
    ]


def assert_gpu_parity(case, reference, kwargs, dtype):
    shapes = FUSED_SHAPES if kwargs.get("fused") or all(0 not in shape for shape in case.shapes) else SHAPES
    assert_parity(
        case.optimizer,
        reference,
        kwargs=kwargs,
        candidate_kwargs=TRITON,
        shapes=shapes,
        dtype=dtype,
        device=DEVICE,
        steps=STEPS,
        ulp=case.units,
        lr_schedule=changing_lr,
    )


@pytest.mark.parametrize(("case", "dtype"), cells([*REAL, torch.float64, torch.complex64]))
def test_the_reference(case, dtype):
    reference = case.reference or functools.partial(case.optimizer, backend="eager")
    assert_gpu_parity(case, reference, case.kwargs, dtype)


@pytest.mark.parametrize(("case", "dtype"), cells(REAL))
def test_step_counts_on_the_device(case, dtype):
    # Not torch's own: with capturable it works out the bias corrections in fp32, also for the oracle's float64.
    reference = functools.partial(case.optimizer, backend="eager")
    assert_gpu_parity(case, reference, {**case.kwargs, "capturable": True}, dtype)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("case", FUSED, ids=by_name)
def test_the_fused_kernels_of_torch(case, dtype):
    assert_gpu_parity(case, case.reference, {**case.kwargs, "fused": True}, dtype)


@pytest.mark.parametrize("case", FUSED, ids=by_name)
def test_the_fused_kernels_of_torch_in_float64(case):
    """1 - βᵗ cancels: an ulp of βᵗ is hundreds of the result, so two powers do not agree to a few units here."""
    results = []
    for optimizer_class, extra in ((case.optimizer, TRITON), (case.reference, {})):
        params = make_params(FUSED_SHAPES, dtype=torch.float64)
        optimizer = optimizer_class(params, **case.kwargs, fused=True, **extra)
        for step in range(1, 6):
            optimizer.param_groups[0]["lr"] = changing_lr(step)
            take_steps(optimizer, params, [step])
        results.append(numbers(optimizer))
    assert_close(*results, rtol=1e-10, atol=1e-12)


def test_auto_is_the_fused_kernel():
    params = make_params()
    optimizer = AdamW(params)
    take_steps(optimizer, params, [0])
    (bucket,) = optimizer.explain()
    assert bucket.backend == "triton"


def test_a_long_run_stays_with_torch():
    """Nothing is copied from the reference between steps here, so errors that add up would show."""
    results = []
    for optimizer_class in (AdamW, torch.optim.AdamW):
        params = make_params(dtype=torch.float64)
        optimizer = optimizer_class(params, lr=1e-2)
        take_steps(optimizer, params, range(200))
        results.append(numbers(optimizer))
    assert_close(*results, rtol=1e-9, atol=1e-11)


def test_two_runs_give_the_same_bits():
    runs = []
    for _ in range(2):
        params = [p for seed in range(20) for p in make_params(seed=seed)]
        optimizer = AdamW(params, lr=0.1, amsgrad=True, weight_decay=0.1)
        take_steps(optimizer, params, range(5))
        runs.append(numbers(optimizer))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)
