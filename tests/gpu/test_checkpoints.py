"""State dicts of fused optimizers, to torch.optim and back, and gradient scaling."""

import copy
import io

import pytest
import torch

from tests.gpu.common import DEVICE, assert_close, make_gradients, make_params, take_steps
from torchopt_notes import SGD, Adam, AdamW

TWINS = {"adam": (Adam, torch.optim.Adam), "adamw": (AdamW, torch.optim.AdamW)}
# torch's fused kernels take empty tensors in some versions only.
SHAPES = ((), (1,), (63,), (17, 31), (1025,))


def saved_and_loaded(state_dict):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True, map_location="cpu")


@pytest.mark.parametrize("kwargs", [{"fused": True}, {"capturable": True}, {}], ids=str)
@pytest.mark.parametrize("kind", TWINS)
def test_states_are_what_torch_keeps(kind, kwargs):
    kept = []
    for optimizer_class in TWINS[kind]:
        params = make_params(SHAPES, dtype=torch.bfloat16)
        optimizer = optimizer_class(params, amsgrad=True, **kwargs)
        take_steps(optimizer, params, range(2))
        kept.append(
            [
                {name: (v.dtype, v.device, v.shape, v.stride()) for name, v in optimizer.state[param].items()}
                for param in params
            ]
        )
        assert [optimizer.state[param]["step"].item() for param in params] == [2] * len(params)
    assert kept[0] == kept[1]
    if kwargs.get("fused"):
        dtype, device, *_ = kept[0][0]["step"]
        assert (dtype, device.type) == (torch.float32, torch.device(DEVICE).type)


@pytest.mark.parametrize("through", [copy.deepcopy, saved_and_loaded], ids=["memory", "file"])
@pytest.mark.parametrize("kwargs", [{"fused": True}, {"capturable": True}, {}], ids=str)
@pytest.mark.parametrize("order", ["tot", "oto"], ids=["torch-ours-torch", "ours-torch-ours"])
@pytest.mark.parametrize("kind", TWINS)
def test_state_dicts_interchange_in_the_middle_of_a_run(kind, order, kwargs, through):
    ours, theirs = TWINS[kind]
    expected = make_params(SHAPES)
    take_steps(theirs(expected, lr=0.1, **kwargs), expected, range(6))
    params, saved = make_params(SHAPES), None
    for i, who in enumerate(order):
        optimizer = (ours if who == "o" else theirs)(params, lr=0.1 if i == 0 else 9.0, **kwargs)
        if saved is not None:
            optimizer.load_state_dict(saved)
        take_steps(optimizer, params, range(2 * i, 2 * i + 2))
        saved = through(optimizer.state_dict())
    # With capturable, torch works out the bias corrections in fp32.
    assert_close(params, expected, atol=1e-5 if "capturable" in kwargs else 1e-6)
    assert all(state["step"].item() == 6 for state in saved["state"].values())


@pytest.mark.parametrize(
    ("ours", "theirs", "kwargs"),
    [(AdamW, torch.optim.AdamW, {}), (SGD, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5})],
    ids=["adamw", "sgd"],
)
def test_a_gradient_scaler_skips_a_step_that_overflows(ours, theirs, kwargs):
    runs = []
    for optimizer_class in (ours, theirs):
        params = make_params(SHAPES)
        optimizer = optimizer_class(params, lr=0.1, **kwargs)
        assert not getattr(optimizer, "_step_supports_amp_scaling", False)
        scaler = torch.amp.GradScaler(DEVICE, init_scale=1024.0, growth_interval=2)
        trace, scales = [], []
        for seed in range(6):
            inputs = make_gradients(params, seed)
            if seed in (0, 3):
                inputs[-1][7] = torch.inf
            before = [param.detach().clone() for param in params]
            optimizer.zero_grad()
            scaler.scale(sum((w * x).sum() for w, x in zip(params, inputs, strict=True))).backward()
            scaler.step(optimizer)
            scaler.update()
            changed = not all(torch.equal(param, old) for param, old in zip(params, before, strict=True))
            assert changed == (seed not in (0, 3))
            trace += [param.detach().clone() for param in params]
            scales.append(scaler.get_scale())
        runs.append((trace, scales))
    assert runs[0][1] == runs[1][1]
    assert_close(runs[0][0], runs[1][0])
