"""A request that compares nothing says so, rather than to pass."""

import pytest
import torch

from torchopt_notes import SGD, AdamW, Lion
from torchopt_notes.testing import FLOAT64, SCENARIOS, ParityError, assert_parity, compare

from .test_parity import WrongAdam

THEIRS = torch.optim.AdamW
NOTHING = [
    ({"reference": "AdamW"}, TypeError, "reference must be an optimizer class.*got 'AdamW'"),
    ({"reference": None}, TypeError, "reference must be an optimizer class.*got None"),
    ({"candidate": "AdamW"}, TypeError, "candidate must be an optimizer class.*got 'AdamW'"),
    ({"kwargs": {"lrr": 1}}, TypeError, "lrr"),
    ({"candidate_kwargs": {"lrr": 1}}, TypeError, "lrr"),
    ({"kwargs": {"lr": -1}}, ValueError, "Invalid learning rate"),
    ({"seed": "x"}, TypeError, "seed must be a whole number, got 'x'"),
    ({"seed": True}, TypeError, "seed must be a whole number, got True"),
    ({"dtype": "fp32"}, TypeError, "dtype must be one of torch.float16.*got 'fp32'"),
    ({"dtype": torch.int64}, ValueError, "dtype must be one of torch.float16.*got torch.int64"),
    ({"dtype": torch.float8_e4m3fn}, ValueError, "got torch.float8_e4m3fn"),
    ({"scenarios": []}, ValueError, "name at least one scenario; there are shapes"),
    ({"scenarios": "shape"}, ValueError, "no scenario is called 'shape'"),
    ({"ulp": -1}, ValueError, "ulp must be 0 .* got -1"),
    ({"ulp": float("nan")}, ValueError, "ulp must be 0 .* got nan"),
    ({"ulp": float("inf")}, ValueError, "ulp must be 0 .* got inf"),
    ({"reference": FLOAT64, "ulp": 0}, ValueError, "no rounded result equals float64's"),
]


@pytest.mark.parametrize("function", [assert_parity, compare])
@pytest.mark.parametrize(("request_", "error", "message"), NOTHING)
def test_a_request_that_compares_nothing(function, request_, error, message):
    request_ = {"candidate": AdamW, "reference": THEIRS, "scenarios": "schedule", **request_}
    with pytest.raises(error, match=message):
        function(request_.pop("candidate"), request_.pop("reference"), **request_)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"shapes": []}, "shapes must have at least one shape"),
        ({"scenarios": "groups", "steps": 5}, "steps cannot be given with scenarios"),
        ({"scenarios": "groups", "shapes": [(3,)], "steps": 5}, "shapes, steps cannot be given with scenarios"),
    ],
)
def test_a_situation_of_ones_own(request_, message):
    with pytest.raises(ValueError, match=message):
        assert_parity(AdamW, THEIRS, **request_)


def test_the_error_says_who_could_not_be_constructed():
    with pytest.raises(TypeError) as caught:
        assert_parity(AdamW, THEIRS, kwargs={"lrr": 1})
    assert caught.value.__notes__ == ["while the candidate was constructed with {'lrr': 1}"]


def test_two_that_raise_in_every_scenario_are_not_equal():
    with pytest.raises(ParityError, match="nothing was compared; sparse-gradients: raises RuntimeError"):
        assert_parity(AdamW, THEIRS, scenarios="sparse-gradients")
    with pytest.raises(ParityError, match="nothing was compared; switch: no other backend to switch to"):
        assert_parity(AdamW, THEIRS, scenarios="switch", candidate_kwargs={"backend": "eager"})


def test_a_backend_that_is_named_is_switched():
    (found,) = compare(AdamW, THEIRS, scenarios="switch", candidate_kwargs={"backend": "compiled"})
    assert found.verdict == "same"
    assert "switch" in {scenario.name for scenario in SCENARIOS}


class Counting(torch.optim.Optimizer):
    """Gradient descent that keeps Python numbers."""

    def __init__(self, params, lr=1e-3, first=0, shape=(), dtype=None):
        self.first, self.shape, self.dtype = first, shape, dtype
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    state = self.state[param]
                    state.setdefault("step", self.first)
                    state["step"] += 1
                    state["total"] = torch.zeros(self.shape, dtype=self.dtype or param.dtype)
                    param.add_(param.grad, alpha=-group["lr"])


@pytest.mark.parametrize("ulp", [0, 2])
def test_numbers_in_states_are_compared(ulp):
    assert_parity(Counting, Counting, ulp=ulp)
    with pytest.raises(ParityError, match=r"state\[0\]\['step'\]\[\]: got 2.0, expected 1.0"):
        assert_parity(Counting, Counting, candidate_kwargs={"first": 1}, ulp=ulp)


class CountingAdam(WrongAdam):
    """Counts steps in Python numbers, as optimizers did before torch counted in tensors."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if "step" in self.state[param]:
                    self.state[param]["step"] = torch.tensor(float(self.state[param]["step"]))
        super().step()
        for state in self.state.values():
            state["step"] = int(state["step"])


@pytest.mark.parametrize("ulp", [0, 2])
def test_a_number_and_a_tensor_of_one_are_the_same(ulp):
    assert_parity(CountingAdam, torch.optim.Adam, ulp=ulp)


@pytest.mark.parametrize("ulp", [0, 2])
@pytest.mark.parametrize(("option", "message"), [({"shape": (2,)}, "shape"), ({"dtype": torch.int64}, "int64")])
def test_states_of_another_shape_or_dtype_differ(ulp, option, message):
    with pytest.raises(ParityError, match=message):
        assert_parity(Counting, Counting, candidate_kwargs=option, ulp=ulp)


def test_a_difference_is_given_in_ulps_and_in_units():
    with pytest.raises(ParityError) as caught:
        assert_parity(SGD, torch.optim.SGD, kwargs={"lr": 0.1}, candidate_kwargs={"lr": 0.1001}, ulp=2)
    difference = caught.value.difference
    spacing = torch.finfo(torch.float32).eps * 2.0 ** torch.tensor(abs(difference.expected)).log2().floor().item()
    assert difference.ulp == pytest.approx(difference.absolute / spacing, rel=1e-6)
    assert difference.units != difference.ulp
    assert f"{difference.ulp:g} ulp" in str(difference)
    assert f"{difference.units:g} units from float64" in str(difference)


def test_a_climbing_rule_is_right_arithmetic():
    """What float64 cannot say, and why a rule is also held against its paper."""
    assert_parity(Lion, FLOAT64, candidate_kwargs={"maximize": True}, scenarios="shapes", ulp=2)
