"""What a range test refuses, and when."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.schedules.range_testing import Weight
from torchopt_notes.schedules import lr_range_test


def good():
    model = Weight()
    return {
        "model": model,
        "loss_fn": lambda w, _: w**2,
        "batches": [(0, 0)],
        "optimizer": torch.optim.SGD(model.parameters(), lr=1.0),
    }


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"model": torch.sin}, TypeError, "model must be a torch.nn.Module, got builtin_function_or_method"),
        ({"model": nn.Linear}, TypeError, "model must be a torch.nn.Module, got type"),
        ({"model": nn.LazyLinear(2)}, ValueError, "lazy parameters have no shape to return to; call the model"),
        ({"loss_fn": "mse"}, TypeError, "loss_fn must be callable"),
        ({"batches": 3}, TypeError, r"batches must give pairs \(inputs, targets\), got int"),
        ({"optimizer": torch.optim.SGD}, TypeError, "type is not an Optimizer"),
        ({"optimizer": None}, TypeError, "NoneType is not an Optimizer"),
        ({"start": 0}, ValueError, "start must be > 0, got 0"),
        ({"start": -1.0}, ValueError, "start must be > 0"),
        ({"start": 10.0}, ValueError, r"start must be < end, got start=10\.0 and end=10\.0"),
        ({"start": 2.0, "end": 1.0}, ValueError, "start must be < end"),
        ({"start": math.nan}, ValueError, "start must be a finite number"),
        ({"end": math.inf}, ValueError, "end must be a finite number"),
        ({"end": "10"}, TypeError, "end must be a number, got '10'"),
        ({"steps": 1}, ValueError, "steps must be a number of steps >= 2, got 1"),
        ({"steps": 10.5}, ValueError, r"steps must be a whole number, got 10\.5"),
        ({"steps": "10"}, TypeError, "steps must be a number"),
        ({"smoothing": 1.0}, ValueError, r"smoothing must be >= 0 and < 1, got 1\.0"),
        ({"smoothing": -0.1}, ValueError, "smoothing must be >= 0 and < 1"),
        ({"smoothing": None}, TypeError, "smoothing must be a number"),
        ({"stop_at": 1.0}, ValueError, r"stop_at must be > 1, or inf, got 1\.0"),
        ({"stop_at": math.nan}, ValueError, "stop_at must be a finite number"),
        ({"stop_at": "4"}, TypeError, "stop_at must be a number"),
    ],
)
def test_what_cannot_be_meant_raises_before_anything_happens(wrong, error, message):
    def never(*_):
        raise AssertionError("this must not be called")

    arguments = {**good(), "loss_fn": never} | wrong
    with pytest.raises(error, match=f"^lr_range_test: {message}"):
        lr_range_test(**arguments)


def test_what_can_be_meant():
    found = lr_range_test(**good(), start=torch.tensor(1e-3), end=np.float32(1), steps=np.int64(5), stop_at=math.inf)
    assert (len(found.lrs), found.lrs[-1]) == (5, 1.0)
    assert all(type(lr) is float for lr in (*found.lrs, *found.losses, *found.smoothed))
    assert lr_range_test(**good(), steps=12.0).lrs == lr_range_test(**good(), steps=12).lrs


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda w: w.item(), "got float"),
        (lambda w: (w, w), "got tuple"),
        (lambda w: w.expand(3), r"got torch\.float64 of shape \(3,\); take the mean"),
        (lambda w: w + 1j, r"got torch\.complex128"),
    ],
)
def test_losses_that_are_no_single_number(loss, got):
    with pytest.raises(TypeError, match=f"loss_fn must return a tensor of one .*{got}"):
        lr_range_test(**good() | {"loss_fn": lambda w, _: loss(w)})


def test_a_loss_of_one_element_will_do():
    found = lr_range_test(**good() | {"loss_fn": lambda w, _: w.reshape(1, 1) ** 2})
    assert found == lr_range_test(**good())


def test_an_optimizer_of_another_model():
    with pytest.raises(ValueError, match="no parameter of the optimizer gets a gradient from the loss"):
        lr_range_test(**good() | {"optimizer": torch.optim.SGD(Weight().parameters(), lr=1.0)})
