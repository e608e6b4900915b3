"""The contract of torch.nn.utils: signatures, what is taken, what is refused, and with which exception."""

import inspect
import math
import warnings

import pytest
import torch

from tests.clip.common import assert_same_bits, make, parameters
from torchopt_notes import clip
from torchopt_notes.clip import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm

utils = torch.nn.utils
SHARED = ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm")
NAN = math.nan


@pytest.mark.parametrize("name", SHARED)
def test_the_signatures_are_torchs(name):
    ours, theirs = inspect.signature(getattr(clip, name)), inspect.signature(getattr(utils, name))
    described = [[(p.name, p.kind, p.default) for p in s.parameters.values()] for s in (ours, theirs)]
    assert described[0] == described[1]


def outcome(function, *args, **kwargs):
    """What a call returns, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return type(error)


def gradient_of(values):
    return parameters([torch.tensor(values)])


CALLS = {
    "no tensors": ("get_total_norm", lambda: ([],)),
    "a tensor": ("get_total_norm", lambda: (torch.ones(4),)),
    "a generator": ("get_total_norm", lambda: (torch.ones(i) for i in (1, 3))),
    "a tensor of integers": ("get_total_norm", lambda: ([torch.ones(3, dtype=torch.int64)],)),
    "no tensor": ("get_total_norm", lambda: ([3],)),
    "nothing": ("get_total_norm", lambda: (None,)),
    "an order that is no number": ("get_total_norm", lambda: ([torch.ones(3)], "two")),
    "no order": ("get_total_norm", lambda: ([torch.ones(3)], None)),
    "a meta tensor": ("get_total_norm", lambda: ([torch.ones(3, device="meta")], 2.0, False, True)),
    "a nan": ("get_total_norm", lambda: ([torch.tensor([NAN])], 2.0, True)),
    "an inf": ("get_total_norm", lambda: ([torch.tensor([-math.inf])], "inf", True)),
    "no parameters": ("clip_grad_norm_", lambda: ([], 1.0)),
    "an empty generator": ("clip_grad_norm_", lambda: ((p for p in ()), 1.0)),
    "a parameter": ("clip_grad_norm_", lambda: (gradient_of([3.0, 4.0])[0], 1.0)),
    "a dict's values": ("clip_grad_norm_", lambda: ({"a": gradient_of([3.0])[0]}.values(), 1.0)),
    "no gradients": ("clip_grad_norm_", lambda: ([torch.nn.Parameter(torch.ones(2))], 1.0)),
    "a gradient of nan": ("clip_grad_norm_", lambda: (gradient_of([NAN]), 1.0, 2.0, True)),
    "a limit in words": ("clip_grad_norm_", lambda: (gradient_of([3.0]), "1")),
    "a limit in a tensor": ("clip_grad_norm_", lambda: (gradient_of([3.0]), torch.tensor(1.0))),
    "no limit": ("clip_grad_norm_", lambda: (gradient_of([3.0]), None)),
    "no parameter": ("clip_grad_norm_", lambda: ([3], 1.0)),
    "an expanded gradient": ("clip_grad_norm_", lambda: (parameters([torch.ones(1).expand(4)]), 1.0)),
    "an empty gradient": ("clip_grad_norm_", lambda: (parameters([torch.ones(0, 3)]), 1.0)),
    "a norm that is no tensor": ("clip_grads_with_norm_", lambda: (gradient_of([3.0]), 1.0, 3.0)),
    "no gradients and no norm": ("clip_grads_with_norm_", lambda: ([], 1.0, None)),
    "a norm of several numbers": ("clip_grads_with_norm_", lambda: (gradient_of([3.0]), 1.0, torch.ones(3))),
    "a norm in a list": ("clip_grads_with_norm_", lambda: (gradient_of([3.0]), 1.0, torch.ones(1))),
    "... one by one": ("clip_grads_with_norm_", lambda: (gradient_of([3.0]), 1.0, torch.ones(1), False)),
    "an integer norm": ("clip_grads_with_norm_", lambda: (gradient_of([3.0]), 1.0, torch.tensor(3))),
    "values of an expanded gradient": ("clip_grad_value_", lambda: (parameters([torch.ones(1).expand(4)]), 0.5)),
    "values without a limit": ("clip_grad_value_", lambda: (gradient_of([3.0]), None)),
    "values beyond half precision": ("clip_grad_value_", lambda: (parameters([torch.ones(2).half()]), 1e6)),
}


@pytest.mark.parametrize("case", CALLS)
def test_the_outcome_is_torchs(case):
    name, arguments = CALLS[case]
    calls = [arguments(), arguments()]
    outcomes = [outcome(getattr(m, name), *call) for m, call in zip((clip, utils), calls, strict=True)]
    if isinstance(outcomes[1], torch.Tensor):
        assert_same_bits(*[[result] for result in outcomes])
    else:
        assert outcomes[0] == outcomes[1]
    for ours, theirs in zip(*calls, strict=True):
        if isinstance(ours, list) and ours and isinstance(ours[0], torch.nn.Parameter):
            assert_same_bits(
                [p.grad for p in ours if p.grad is not None], [p.grad for p in theirs if p.grad is not None]
            )


def test_generators_are_consumed_once():
    for function, arguments in (
        (clip_grad_norm_, (1.0,)),
        (clip_grads_with_norm_, (1.0, torch.tensor(5.0))),
        (clip_grad_value_, (0.5,)),
    ):
        params = parameters([torch.tensor([3.0, 4.0]), torch.tensor([5.0])])
        function((p for p in params), *arguments)
        assert all((p.grad < 1).all() for p in params)


def test_the_error_begins_with_torchs_words():
    messages = []
    for function in (get_total_norm, utils.get_total_norm):
        with pytest.raises(RuntimeError) as error:
            function([torch.tensor([NAN])], 2, error_if_nonfinite=True)
        messages.append(str(error.value))
    words = "The total norm of order 2.0 for gradients from `parameters` is non-finite, so it cannot be clipped"
    assert all(message.startswith(words) for message in messages)


def test_an_error_leaves_the_gradients_alone():
    params = parameters([torch.tensor([3.0]), torch.tensor([NAN])])
    with pytest.raises(RuntimeError):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad.item() == 3.0


@pytest.mark.parametrize("value", [-1.0, NAN, -math.inf, "-1", torch.tensor(-1.0)], ids=str)
def test_limits_that_torch_accepts_by_mistake(value):
    params = gradient_of([3.0, 4.0])
    calls = {
        "clip_grad_norm_: Invalid max_norm": lambda: clip_grad_norm_(params, value),
        "clip_grads_with_norm_: Invalid max_norm": lambda: clip_grads_with_norm_(params, value, torch.tensor(5.0)),
        "clip_grad_value_: Invalid clip_value": lambda: clip_grad_value_(params, value),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=f"{message} value: .*; .* must be a number >= 0, or inf"):
            call()
    assert params[0].grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("value", [0, 0.5, -1, NAN, -math.inf])
def test_orders_that_make_no_norm(value):
    params = gradient_of([3.0, 4.0])
    for name, call in (
        ("get_total_norm", lambda: get_total_norm([torch.ones(2)], value)),
        ("clip_grad_norm_", lambda: clip_grad_norm_(params, 1.0, value)),
    ):
        with pytest.raises(ValueError, match=f"{name}: Invalid norm_type: .*; norm_type must be a number >= 1, or inf"):
            call()
    assert params[0].grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("order", [1, 2, "inf"])
def test_sparse_gradients(order):
    """torch scales them, and does not measure them; equal places count together here."""
    sparse = torch.sparse_coo_tensor([[0, 2, 2]], [3.0, 4.0, -8.0], (5,), check_invariants=True)
    for function in (utils.get_total_norm, utils.clip_grad_norm_):
        with pytest.raises(NotImplementedError):
            function(*(([sparse],) if function is utils.get_total_norm else (parameters([sparse]), 1.0)))
    dense = sparse.to_dense()
    mixed, plain = parameters([sparse, torch.ones(3)]), parameters([dense, torch.ones(3)])
    assert_same_bits([clip_grad_norm_(mixed, 1.0, order)], [clip_grad_norm_(plain, 1.0, order)])
    torch.testing.assert_close(mixed[0].grad.to_dense(), plain[0].grad)
    assert_same_bits([mixed[1].grad], [plain[1].grad])


def test_tensors_without_elements_do_not_count():
    """torch refuses the largest of nothing, whatever else there is."""
    with pytest.raises(RuntimeError):
        utils.get_total_norm([torch.ones(0), torch.ones(2)], math.inf)
    for order in (1, 2, math.inf):
        expected = get_total_norm([torch.tensor([2.0, -3.0])], order)
        assert_same_bits([get_total_norm([torch.ones(0), torch.tensor([2.0, -3.0])], order)], [expected])
        assert get_total_norm([torch.ones(0)], order).item() == 0


def test_a_gradient_that_is_listed_twice():
    """torch scales it twice."""
    results = []
    for function in (clip_grad_norm_, utils.clip_grad_norm_):
        params = parameters(make(dtype=torch.float64)[1:4])
        results.append([function([*params, params[0]], 0.1), *(p.grad for p in params)])
    assert_same_bits(*results)


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_gradients_with_a_graph_and_the_version_counter():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    (weight**3).sum().backward(create_graph=True)
    before = weight.grad._version
    total = clip_grad_norm_(weight, 1.0)
    assert not total.requires_grad
    assert weight.grad._version == before + 1
    clip_grad_value_(weight, 0.1)
    assert weight.grad._version > before + 1


def test_subclasses_are_left_to_torch(monkeypatch):
    class Tagged(torch.Tensor):
        pass

    called = []
    for name in SHARED:
        genuine = getattr(utils, name)
        monkeypatch.setattr(utils, name, lambda *args, n=name, f=genuine: (called.append(n), f(*args))[1])
    tagged = torch.ones(3).as_subclass(Tagged)
    assert get_total_norm([tagged]).item() == pytest.approx(math.sqrt(3))
    for function, arguments in (
        (clip_grad_norm_, (1.0,)),
        (clip_grads_with_norm_, (1.0, torch.tensor(2.0))),
        (clip_grad_value_, (0.1,)),
    ):
        function(parameters([torch.ones(3).as_subclass(Tagged)]), *arguments)
    assert called == ["get_total_norm", "clip_grad_norm_", "clip_grads_with_norm_", "clip_grad_value_"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_dtensors():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        results = []
        for function in (clip_grad_norm_, utils.clip_grad_norm_):
            param = torch.nn.Parameter(distribute_tensor(torch.zeros(4, 3), mesh, [Shard(0)]))
            param.grad = distribute_tensor(make(shapes=[(4, 3)])[0], mesh, [Shard(0)])
            total = function([param], 1.0)
            assert type(total) is type(param.grad) is not torch.Tensor
            results.append([total.full_tensor(), param.grad.full_tensor()])
        assert_same_bits(*results)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("function", [clip_grad_norm_, clip_grad_value_])
def test_inside_of_torch_compile(function):
    results = []
    for compiled in (True, False):
        params = parameters(make())
        call = torch.compile(function, backend="eager", fullgraph=True) if compiled else function
        call(params, 0.3)
        results.append([p.grad for p in params])
    assert_same_bits(*results)
