"""Hyperparameters of every kind, per group or shared, and dtypes."""

import torch
from torch.nn import Parameter

from tests.conformance import wrong
from tests.conformance.database import Input
from tests.conformance.harness import NOT_TORCHS, conforms, every_input, one_input, where
from tests.conformance.problems import (
    assert_alike,
    assert_number,
    assert_params,
    assert_same_outcome,
    both,
    run,
    weights,
)

RATES = [
    Input(f"lr as a tensor of {text}", {"lr": torch.full(shape, 0.02, dtype=dtype)})
    for text, shape, dtype in (
        ("no dimension", (), torch.float32),
        ("one dimension", (1,), torch.float32),
        ("two dimensions", (1, 1), torch.float32),
        ("fp64", (), torch.float64),
    )
]
NOT_TORCHS += RATES


@conforms(wrong.drifts, lambda pair: RATES, one_variant=False, slow=True)
def test_a_tensor_for_a_learning_rate_takes_torchs_steps(subject):
    """Learning rates in tensors of zero to two dimensions: torch's steps within rounding, torch's bits, and a number's
    steps within rounding."""
    (mine, ours), (its, theirs) = both(subject)
    number = weights()
    run(subject, subject.make(number, lr=0.02), number, 4)
    for params, optimizer in ((mine, ours), (its, theirs)):
        run(subject, optimizer, params, 4)
    torch.testing.assert_close(mine, number, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-6)
    for i, (param, other) in enumerate(zip(mine, its, strict=True)):
        with subject.part():
            assert_number(subject, param, other, f"params[{i}]")


@conforms(wrong.reads_lr_once, lambda pair: RATES, one_variant=False, slow=True)
def test_a_tensor_for_a_learning_rate_may_change_in_place(subject):
    """The tensor in the group is the one that was given, as in torch; filled anew, it acts at the next step."""
    (mine, ours), (its, theirs) = both(subject)
    given = subject.kwargs["lr"]
    assert subject.ours(weights(), lr=given).param_groups[0]["lr"] is given
    for params, optimizer in ((mine, ours), (its, theirs)):
        run(subject, optimizer, params, 2)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].clone().fill_(0.005)
        run(subject, optimizer, params, 2)
        optimizer.param_groups[0]["lr"].fill_(0.001)
        run(subject, optimizer, params, 2)
    torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-6)


@conforms(wrong.refuses_nothing, where(lambda pair: pair.takes("foreach"), lambda pair: RATES[:2]), everywhere=False)
def test_foreach_with_a_tensor_for_a_learning_rate_does_as_in_torch(subject):
    """``foreach=True`` refuses a tensor where torch's does, at construction or at the step, with torch's words."""

    def train(make):
        params = weights()
        run(subject, make(params, foreach=True), params, 1)

    assert_same_outcome(lambda: train(subject.make), lambda: train(subject.torchs))


BETAS = [
    Input("betas as tensors", {"betas": (torch.tensor(0.8), torch.tensor(0.99))}),
    Input("betas as tensors of more dimensions", {"betas": (torch.tensor([[[0.8]]]), torch.tensor([0.99]))}),
]
NOT_TORCHS += BETAS


@conforms(wrong.drifts, where(lambda pair: pair.takes("amsgrad"), lambda pair: BETAS), one_variant=False)
def test_tensors_for_betas_take_torchs_steps(subject):
    """Betas in tensors, where torch takes them."""
    (mine, ours), (its, theirs) = both(subject, 4)
    assert_alike(subject, (mine, ours), (its, theirs))


@conforms(wrong.forgets_the_others)
def test_each_group_has_its_learning_rate(subject):
    """Groups with learning rates of their own take torch's steps; one may be zero."""
    for rate in (0.01, 0.0) if subject.pair.name not in ("SparseAdam",) else (0.01,):
        found = []
        for make in (subject.make, subject.torchs):
            params = weights()
            optimizer = make([{"params": [params[0]], "lr": 0.02}, {"params": [params[1]]}], lr=rate or 0.01)
            if not rate:
                optimizer.param_groups[0]["lr"] = 0.0
            run(subject, optimizer, params, 3)
            found.append((params, optimizer))
        assert_alike(subject, *found)


@conforms(wrong.forgets_the_others, where(lambda pair: pair.takes("weight_decay"), every_input), one_variant=False)
def test_each_group_has_its_weight_decay(subject):
    """Groups with decays of their own take torch's steps."""
    found = []
    for make in (subject.make, subject.torchs):
        params = weights()
        optimizer = make([{"params": [params[0]]}, {"params": [params[1]], "weight_decay": 0.25}], weight_decay=0)
        run(subject, optimizer, params, 3)
        found.append((params, optimizer))
    assert_alike(subject, *found)


@conforms(wrong.takes_one_group)
def test_a_group_may_be_added_later(subject):
    """A group that is added after steps gets the defaults and takes torch's steps."""
    found = []
    for make in (subject.make, subject.torchs):
        params = weights()
        optimizer = make(params[:1])
        run(subject, optimizer, params, 2)
        optimizer.add_param_group({"params": params[1], "lr": 0.03})
        run(subject, optimizer, params, 2)
        found.append((params, optimizer))
    assert_alike(subject, *found)


@conforms(wrong.lists_too_much)
def test_parameters_may_be_given_in_every_form(subject):
    """A list, a generator, names, one tensor in a group, tuples: the groups are torch's, with the same keys."""
    forms = {
        "a generator": lambda params: (param for param in params),
        "a tuple": lambda params: tuple(params),
        "names": lambda params: list(zip("ab", params, strict=True)),
        "a dict's items": lambda params: dict(zip("ab", params, strict=True)).items(),
        "a tensor in a group": lambda params: [{"params": params[0]}, {"params": params[1]}],
        "names in groups": lambda params: [{"params": [("a", params[0])]}, {"params": [("b", params[1])]}],
        "a generator in a group": lambda params: [{"params": (param for param in params)}],
    }
    capturable = {"capturable"} if subject.kwargs.get("capturable") else set()
    for name, form in forms.items():
        mine, its = weights(), weights()
        ours, theirs = subject.make(form(mine)), subject.torchs(form(its))
        for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert list(group) == list(other), name
            assert all(torch.equal(a, b) for a, b in zip(group["params"], other["params"], strict=True)), name
            assert all(_same(group[key], other[key]) for key in group.keys() - {"params"} - capturable), name
        assert list(ours.defaults) == list(theirs.defaults)


def _same(a, b):
    pairs = list(zip(a, b, strict=True)) if isinstance(a, (tuple, list)) else [(a, b)]
    return all(type(x) is type(y) and bool(x == y) for x, y in pairs)


@conforms(wrong.drifts, where(lambda pair: not pair.sparse_only, every_input), one_variant=False)
def test_dtypes_may_be_mixed(subject):
    """Parameters of several dtypes in one optimizer: fp32 and fp64 take torch's steps, bf16 and fp16 torch's within
    their rounding."""
    found = []
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    for make in (subject.make, subject.torchs):
        params = [Parameter(torch.linspace(-1, 1, 12).reshape(3, 4).to(dtype)) for dtype in dtypes]
        # fp16 has no number between zero and the usual ones.
        more = {"eps": 1e-3} if subject.pair.takes("eps") and subject.pair.name != "Adafactor" else {}
        optimizer = make(params, **more)
        for step in range(3):
            for param in params:
                param.grad = (torch.linspace(1, 2, 12).reshape(3, 4) + step).to(param.dtype)
            optimizer.step()
        found.append(params)
    assert_params(subject, found[0][:2], found[1][:2])
    for mine, its in zip(found[0][2:], found[1][2:], strict=True):
        torch.testing.assert_close(mine, its, rtol=3e-2, atol=3e-2)


@conforms(wrong.states_in_half, one_input, one_variant=False)
def test_the_default_dtype_decides_what_it_decides_in_torch(subject):
    """With fp64 for a default the dtypes of states and step counts, and the steps, are torch's."""
    torch.set_default_dtype(torch.float64)
    try:
        for dtype in (torch.float64, torch.float32):
            found = both(subject, 3, dtype=dtype)
            assert_alike(subject, *found)
    finally:
        torch.set_default_dtype(torch.float32)


@conforms(wrong.states_in_half)
def test_states_are_torchs_after_the_first_step(subject):
    """Names, order of saving, types, dtypes, shapes and values of the states."""
    found = both(subject, 1)
    assert_alike(subject, *found)
    for (_, ours), (_, theirs) in [found]:
        assert len(ours.state) == len(theirs.state)
