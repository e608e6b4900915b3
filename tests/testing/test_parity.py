"""The harness itself: what it must accept, what it must catch, and what it says."""

import pytest
import torch

from torchopt_notes import SGD, Adam, AdamW
from torchopt_notes.testing import ParityError, assert_parity, spacing, ulp_distance


class WrongAdam(torch.optim.Optimizer):
    """Adam in plain torch, with one mistake."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, mistake=None):
        self.mistake = mistake
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
                state["step"] += 1
                step = state["step"].item() + (1 if self.mistake == "bias correction off by one" else 0)
                state["exp_avg"].lerp_(param.grad, 1 - beta1)
                state["exp_avg_sq"].mul_(beta2).addcmul_(param.grad, param.grad, value=1 - beta2)
                second = state["exp_avg_sq"]
                if self.mistake == "eps inside the root":
                    denom = (second / (1 - beta2**step) + eps).sqrt()
                else:
                    denom = (second.sqrt() / (1 - beta2**step) ** 0.5).add_(eps)
                param.addcdiv_(state["exp_avg"], denom, value=-group["lr"] / (1 - beta1**step))
                if self.mistake == "wrong state":
                    state["exp_avg_sq"].mul_(1.001)
                if self.mistake == "extra state":
                    state["unused"] = torch.zeros(1)


def test_a_right_optimizer_passes():
    assert assert_parity(WrongAdam, torch.optim.Adam).max_units == 0


@pytest.mark.parametrize("ulp", [0, 2])
@pytest.mark.parametrize("mistake", ["eps inside the root", "bias correction off by one", "wrong state", "extra state"])
def test_a_wrong_optimizer_fails(mistake, ulp):
    with pytest.raises(ParityError) as caught:
        assert_parity(WrongAdam, torch.optim.Adam, candidate_kwargs={"mistake": mistake}, ulp=ulp)
    if mistake == "wrong state":
        assert "exp_avg_sq" in caught.value.difference.tensor
    if mistake == "extra state":
        assert "unused" in str(caught.value)


def test_the_report_names_step_tensor_and_element():
    class LateMistake(SGD):
        def _step(self, closure):
            super()._step(closure)
            self.count = getattr(self, "count", 0) + 1
            if self.count == 3:
                with torch.no_grad():
                    self.param_groups[0]["params"][1][2, 1] += 1

    with pytest.raises(ParityError) as caught:
        assert_parity(LateMistake, torch.optim.SGD, shapes=[(3,), (4, 2)])
    difference = caught.value.difference
    assert (difference.step, difference.tensor, difference.element) == (3, "params[1]", (2, 1))
    assert difference.absolute == pytest.approx(1)
    assert "step 3, params[1][2, 1]" in str(caught.value)


def test_the_oracle_accepts_rounding_and_nothing_else():
    assert_parity(AdamW, torch.optim.AdamW, dtype=torch.bfloat16, ulp=2)
    with pytest.raises(ParityError):
        assert_parity(Adam, torch.optim.Adam, candidate_kwargs={"betas": (0.9, 0.99901)}, ulp=2)
    with pytest.raises(ParityError):
        assert_parity(Adam, torch.optim.Adam, candidate_kwargs={"lr": 1e-3 * (1 + 1e-5)}, kwargs={"lr": 1e-3}, ulp=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_spacing_is_the_distance_to_the_next_number(dtype):
    values = torch.tensor([1.0, 1.5, 3.0, 0.1, 1000.0, 2.0**-20], dtype=dtype)
    following = torch.nextafter(values, torch.full_like(values, torch.inf))
    assert torch.equal(spacing(values, dtype), following.double() - values.double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_spacing_at_one_and_at_zero(dtype):
    info = torch.finfo(dtype)
    assert spacing(torch.tensor(1.0), dtype).item() == info.eps
    assert spacing(torch.tensor(0.0), dtype).item() == info.smallest_normal * info.eps


def test_ulp_distance():
    one = torch.tensor([1.0, 1.0, 0.0, torch.nan, torch.inf, 1.0])
    other = torch.tensor([1.0, 1 + 2**-22, -0.0, torch.nan, torch.inf, torch.nan])
    assert ulp_distance(one, other).tolist() == [0, 2, 0, 0, 0, float("inf")]
