"""The launches behind the free functions, in Triton's interpreter: how many, on which tensors, and on none else."""

import itertools
import math

import pytest
import torch

from tests.clip.common import (
    FUSED,
    KINDS,
    LAYOUTS,
    assert_same_bits,
    assert_same_norm,
    make,
    parameters,
    transposed,
)
from torchopt_notes.clip import (
    adaptive_clip_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    gather,
    get_total_norm,
)

pytestmark = FUSED
utils = torch.nn.utils
COUNTS = {
    "get_total_norm": (lambda params: get_total_norm([p.grad for p in params]), KINDS[:2], ["sum_bucket"]),
    "clip_grad_norm_": (lambda params: clip_grad_norm_(params, 1.0), KINDS, ["sum_bucket", "scale_bucket"]),
    "clip_grads_with_norm_": (
        lambda params: clip_grads_with_norm_(params, 1.0, torch.tensor(3.0, device="cpu")),
        KINDS[1:],
        ["scale_bucket"],
    ),
    "clip_grad_value_": (lambda params: clip_grad_value_(params, 0.1), ["clamp_bucket"], ["clamp_bucket"]),
    "adaptive_clip_grad_": (
        adaptive_clip_grad_,
        ["measure_units", "finish_units", "scale_units"],
        ["measure_units", "finish_units", "scale_units"],
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_launches(name, launched):
    """As many for 20 tensors as for one; one more of those that look at tensors for another dtype, or alignment."""
    function, once, more = COUNTS[name]
    shapes = [(1 + 7 * i % 40,) for i in range(20)]
    function(parameters(make(shapes=shapes)))
    assert launched == once
    launched.clear()
    function(parameters([*make(shapes=shapes), *make(dtype=torch.bfloat16, shapes=shapes)]))
    assert sorted(launched) == sorted(once + more)
    launched.clear()
    plain, odd = LAYOUTS[0], LAYOUTS[3]
    function(parameters([*make(plain, shapes=shapes), *make(odd, shapes=shapes)]))
    # A tensor's units are measured element by element, whatever its address.
    more = [kernel for kernel in more if "units" not in kernel or kernel == "scale_units"]
    assert sorted(launched) == sorted(once + more)


KEPT_AWAY = [(name, case) for name in COUNTS for case in ("capture", "gaps", "lazy", "listed twice")]
KEPT_AWAY += [(name, "sparse") for name in COUNTS if "norm" in name]


@pytest.mark.parametrize(("name", "case"), KEPT_AWAY)
def test_what_kernels_are_kept_away_from(name, case, launched, monkeypatch):
    grads = {
        "capture": make,
        "sparse": lambda: [torch.eye(3).to_sparse()],
        "gaps": lambda: make(LAYOUTS[2], shapes=[(17, 31)]),
        "lazy": lambda: [torch.view_as_complex(torch.ones(4, 2)).conj().imag],
        "listed twice": lambda: make()[:1] * 2,
    }[case]
    if case == "capture":
        monkeypatch.setattr(gather, "capturing", lambda: True)
    COUNTS[name][0](parameters(grads()))
    assert launched == []


def test_foreach_false_launches_nothing(launched):
    params = parameters(make())
    get_total_norm([p.grad for p in params], foreach=False)
    clip_grad_norm_(params, 1.0, foreach=False)
    clip_grad_value_(params, 1.0, foreach=False)
    assert launched == []


@pytest.mark.parametrize("order", [1, 2])
def test_kernels_and_operations_together(order):
    """Dense tensors go one way, sparse ones and those with gaps the other."""

    def mixed(sparse):
        grads = [*make(seed=0), *make(LAYOUTS[2], seed=1), *make(dtype=torch.float64, seed=2)]
        return [*grads, torch.eye(3).to_sparse() if sparse else torch.eye(3)]

    ours, theirs = parameters(mixed(True)), parameters(mixed(False))
    total = clip_grad_norm_(ours, 1.0, order)
    assert_same_norm(total, clip_grad_norm_(theirs, 1.0, order, foreach=False), 1e-7)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.grad.to_dense(), q.grad, rtol=1e-6, atol=1e-9)


def test_a_gradient_that_is_listed_twice_is_scaled_twice():
    results = []
    for function in (clip_grad_norm_, utils.clip_grad_norm_):
        params = parameters(make(dtype=torch.float64)[1:4])
        results.append([function([*params, params[0]], 0.1), *(p.grad for p in params)])
    assert_same_bits(*results)


def test_gradients_that_overlap_are_changed_in_turn():
    results = []
    for function in (clip_grads_with_norm_, utils.clip_grads_with_norm_):
        memory = torch.ones(10)
        function(parameters([memory[:6], memory[4:]]), 1.0, torch.tensor(2.0))
        results.append([memory])
    assert results[0][0][5].item() == pytest.approx(0.25, rel=1e-5)
    assert_same_bits(*results)


def test_tensors_without_elements(launched):
    params = parameters([torch.ones(0, 3), torch.ones(0)])
    for order in (1, 2, 3):
        assert clip_grad_norm_(params, 1.0, order).item() == 0
    clip_grad_value_(params, 1.0)
    assert set(launched) == {"decide"}
    adaptive_clip_grad_(params)


def test_neighbouring_memory_is_left_alone():
    """Each gradient lies between NaNs; a tail without its mask would read or write them."""
    for offset, function in itertools.product((4, 3), [function for function, _, _ in COUNTS.values()]):
        buffers = [torch.full((size + 8,), math.nan) for size in (3, 1027, 4099)]
        inner = [buffer[offset:-4] for buffer in buffers]
        for tensor in inner:
            tensor.fill_(5.0)
        function(parameters(inner))
        assert all(tensor.isfinite().all() for tensor in inner)
        assert all(buffer[:offset].isnan().all() and buffer[-4:].isnan().all() for buffer in buffers)


def test_addresses_are_read_at_every_call():
    """Sizes are the same, so chunk maps are kept; the tensors are others."""
    params = parameters(make())
    for seed in range(3):
        for param, grad in zip(params, make(seed=seed), strict=True):
            param.grad = grad
        assert_same_norm(clip_grad_norm_(params, 0.5), get_total_norm(make(seed=seed), foreach=False), 1e-6)
        assert get_total_norm([p.grad for p in params]).item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("name", COUNTS)
def test_a_default_device_is_left_alone(name):
    """Users set one so that models are built on the GPU."""
    params, expected = (parameters(make(shapes=[(5,), (3, 4)])) for _ in range(2))
    COUNTS[name][0](expected)
    torch.set_default_device("meta")
    try:
        from torchopt_notes.clip import launches, unit_launches

        launches._chunk_maps.cache_clear()
        unit_launches._unit_launches.cache_clear()
        COUNTS[name][0](params)
    finally:
        torch.set_default_device(None)
    assert_same_bits([p.grad for p in params], [p.grad for p in expected])


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "get_total_norm"])
def test_autograd_learns_of_the_change(name):
    params = parameters(make(shapes=[(5,), (3, 4)]))
    before = [p.grad._version for p in params]
    COUNTS[name][0](params)
    assert all(p.grad._version > old for p, old in zip(params, before, strict=True))


def test_a_nonfinite_norm_is_an_error_before_anything_changes():
    params = parameters([torch.tensor([3.0]), torch.tensor([math.inf])])
    with pytest.raises(
        RuntimeError, match=r"The total norm of order 2.0 for gradients from `parameters` is non-finite"
    ):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad.item() == 3.0


def test_transposed_weights_are_not_walked_in_the_wrong_order(launched):
    """Their memory does not hold one unit after the other."""
    params = [torch.nn.Parameter(transposed((5, 7), torch.float32))]
    params[0].grad = transposed((5, 7), torch.float32)
    adaptive_clip_grad_(params)
    assert launched == []
