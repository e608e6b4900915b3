"""``grad_scale`` and ``found_inf``, the attributes that a GradScaler sets, set by hand: any number, any dtype."""

import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.common_amp import HOST_OR_DEVICE, NAN, QUIET, Training, assert_same, everywhere, named

pytestmark = QUIET
SCALES = {"3": 3.0, "a third": 1 / 3, "2¹⁶": 2.0**16, "2⁻⁴": 2.0**-4}


@pytest.mark.parametrize("backend", BACKENDS)
@HOST_OR_DEVICE
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_a_scale_that_is_set_by_hand(scale, shape, capturable, backend):
    """Without ``found_inf`` nothing is skipped. Gradients are multiplied with 1 / scale, rounded once, as in torch."""
    scaled, plain = (Training(named("adamw"), backend, capturable=capturable) for _ in range(2))
    scaled.optimizer.grad_scale = torch.full(shape, scale)
    inverse = torch.tensor(scale).double().reciprocal().float()
    for step in range(3):
        scaled.step(step, factor=scale)
        plain.load(step, factor=scale)
        for param in plain.params:
            param.grad *= inverse
        plain.optimizer.step()
    assert_same(scaled.numbers(), plain.numbers())
    assert scaled.optimizer.skipped_steps == 0
    assert scaled.optimizer.grad_norm is None
    scaled.step(3, spoiled_by=NAN)
    assert not all(param.isfinite().all() for param in scaled.params)


FOUND = {
    "1": torch.tensor(1.0),
    "2, of two devices": torch.tensor(2.0),
    "one element": torch.tensor([1.0]),
    "whole number": torch.tensor(3),
    "yes": torch.tensor(True),
    "fp64": torch.tensor(0.5, dtype=torch.float64),
}


@pytest.mark.parametrize("backend", BACKENDS)
@HOST_OR_DEVICE
@pytest.mark.parametrize("scale", [None, torch.tensor(4.0)], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("found", FOUND.values(), ids=FOUND)
def test_what_was_found_may_be_any_number(found, scale, capturable, backend):
    """More than 0 skips the step, whatever its gradients are; no step is uncounted that was not taken."""
    training, spared = (Training(named("adamw"), backend, capturable=capturable) for _ in range(2))
    for step in range(2):
        training.optimizer.grad_scale = scale
        training.optimizer.found_inf = found
        training.step(step)
        training.optimizer.found_inf = torch.zeros_like(found)
        training.step(step, factor=1.0 if scale is None else scale)
        spared.step(step)
    assert_same(training.numbers(), spared.numbers())
    assert training.optimizer.skipped_steps == 2


@pytest.mark.parametrize(
    ("case", "backend", "dtype"),
    [
        pytest.param(*found.values, dtype, marks=found.marks, id=f"{found.id}-{dtype}")
        for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.complex64)
        for found in everywhere([named("adamw")], compiled={"adamw"} if dtype is torch.bfloat16 else ())
    ],
)
def test_dtypes(case, backend, dtype):
    """fp16 too, whose gradients torch's scaler refuses to unscale for an optimizer that leaves it to do so."""
    scaled, plain = (Training(case, backend, dtype=dtype) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**3)
    for step in range(3):
        scaled.load(step, factor=scaler.scale(torch.ones(())).item())
        if dtype.is_complex:  # which the scaler's own check does not take
            scaled.optimizer.grad_scale, scaled.optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
            scaled.optimizer.step()
        else:
            scaler.step(scaled.optimizer)
            scaler.update()
        plain.step(step)
    assert_same(scaled.numbers(), plain.numbers())
