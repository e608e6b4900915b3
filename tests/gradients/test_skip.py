"""``skip_nonfinite=True``: a step whose gradients hold an inf or NaN changes nothing, now or later."""

import dataclasses

import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.common_amp import (
    HOST_OR_DEVICE,
    INF,
    NAN,
    QUIET,
    SOME,
    SPARSE,
    Training,
    assert_same,
    everywhere,
    named,
    walk,
)
from torchopt_notes import Adam, AdamW, SparseAdam
from torchopt_notes.testing.cases import CASES

SCHEDULE = "bgbbg"
"""What to do at which step: b for a bad gradient, g for a good one."""

pytestmark = QUIET


def assert_nothing_changed(training, before):
    """No number, and no key; but states that were born on the device stay there, and have not taken a step."""
    after = training.numbers()
    born = after.keys() - before.keys()
    assert not (born and training.optimizer.decided_on_host)
    assert_same({name: after[name] for name in before}, before)
    assert all(after[name] == 0 for name in born if name.endswith(".step"))
    assert all(after[name].isfinite().all() for name in born)


def compare(case, backend, schedule, *, skip=True, **options):
    """A training with bad steps against one that never sees them, and does not look for them."""
    training = Training(case, backend, skip_nonfinite=skip, **options)
    spared = Training(case, backend, **options)
    walk(training, schedule, assert_nothing_changed)
    walk(spared, schedule.replace("b", ""))
    assert_same(training.numbers(), spared.numbers())
    skipped = training.optimizer.skipped_steps
    assert (skipped.dtype, skipped.shape, skipped.item()) == (torch.int64, (), schedule.count("b"))


@pytest.mark.parametrize(("case", "backend"), everywhere())
def test_a_bad_step_leaves_no_trace_where_the_host_decides(case, backend):
    compare(case, backend, SCHEDULE)


@pytest.mark.parametrize(("case", "backend"), everywhere(capturable=True))
def test_a_bad_step_leaves_no_trace_where_the_device_decides(case, backend):
    compare(case, backend, SCHEDULE, capturable=True)


@pytest.mark.parametrize(("case", "backend"), everywhere())
def test_without_the_option_the_step_happens(case, backend):
    """The negative control: the comparison above notices."""
    with pytest.raises(AssertionError):
        compare(case, backend, "gbg", skip=False)


@pytest.mark.parametrize(
    "case", [case for case in (*CASES, SPARSE) if case.reference is not None], ids=lambda case: case.name
)
def test_without_the_option_it_spreads_as_in_torch(case):
    ours = Training(case, "eager")
    theirs = Training(dataclasses.replace(case, optimizer=case.reference), None)
    for training in (ours, theirs):
        walk(training, "gbg")
    assert_same(ours.numbers(), theirs.numbers())
    assert ours.optimizer.skipped_steps == 0


# What is narrow is computed wide, pairs of reals share a count, norms of whole tensors make the step.
ON_KERNELS = {"adamw", "sgd-dampening", "lamb", "asgd"}
DTYPES = (torch.bfloat16, torch.float16, torch.float64, torch.complex64)


@HOST_OR_DEVICE
@pytest.mark.parametrize(
    ("case", "backend", "dtype"),
    [
        pytest.param(*found.values, dtype, marks=found.marks, id=f"{found.id}-{dtype}")
        for dtype in DTYPES
        for found in everywhere(
            [case for case in CASES if case.takes(dtype) and case.name in SOME], kernels=ON_KERNELS, compiled=()
        )
    ],
)
def test_dtypes(case, backend, dtype, capturable):
    compare(case, backend, "bgb", dtype=dtype, capturable=capturable)


@HOST_OR_DEVICE
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["adamw", "sgd-dampening", "nadam", "adagrad-start"])
def test_one_bad_gradient_holds_up_all_parameters(name, backend, capturable):
    """Also where it is the first of its parameter, which comes late, and others have none."""
    runs = []
    for schedule in ("gbgb", "gg"):
        training = Training(named(name), backend, capturable=capturable, skip_nonfinite=True)
        for step, kind in enumerate(schedule):
            training.load(step if len(schedule) == 2 else step // 2, spoiled_by=NAN if kind == "b" else None, where=2)
            training.params[3].grad = None
            if kind == "g" and step == 0:
                training.params[2].grad = None
            before = training.numbers()
            training.optimizer.step()
            if kind == "b":
                assert_nothing_changed(training, before)
        runs.append(training)
    assert_same(runs[0].numbers(), runs[1].numbers())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "order"),
    [*[(torch.float32, order) for order in (1, 2, 3, INF)], (torch.float16, 2), (torch.float64, 2), (torch.float64, 3)],
)
def test_large_is_not_infinite(dtype, order, backend):
    """Neither in the precision of the gradients nor where their powers have none."""
    params = [torch.nn.Parameter(torch.ones(300, dtype=dtype)) for _ in range(2)]
    optimizer = AdamW(params, backend=backend, skip_nonfinite=True, grad_norm_type=order)
    for last in (torch.finfo(dtype).max, INF, -torch.finfo(dtype).max, -INF, NAN):
        for param in params:
            param.grad = torch.full_like(param, torch.finfo(dtype).max)
        params[1].grad[-1] = last
        optimizer.step()
    assert optimizer.skipped_steps == 3
    assert optimizer.state[params[0]]["step"] == 2


def test_a_sparse_gradient_that_lists_a_row_twice():
    """What is looked at is the sum, which may be too large for its dtype where its terms are not."""
    param = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = SparseAdam([param], skip_nonfinite=True)
    for value, skipped in ((1e38, 0), (3e38, 1), (NAN, 2)):
        rows = torch.full((2, 2), value)
        param.grad = torch.sparse_coo_tensor([[1, 1]], rows, (3, 2), check_invariants=True)
        optimizer.step()
        assert optimizer.skipped_steps == skipped
    assert optimizer.state[param]["step"] == 1


@HOST_OR_DEVICE
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_option_may_change_between_steps(backend, capturable):
    """A norm to clip to as well; each step does what the options say then."""
    switched, spared = (Training(named("sgd-dampening"), backend, capturable=capturable) for _ in range(2))
    plan = [(True, None, 2.0), (True, 1.0, 2.0), (False, 1.0, INF), (True, INF, 1.0), (False, None, 2.0)]
    for step, (skip, limit, order) in enumerate(plan):
        for training in (switched, spared):
            training.optimizer.max_grad_norm = limit
            training.optimizer.grad_norm_type = order
        switched.optimizer.skip_nonfinite = skip
        if skip:
            switched.step(step, spoiled_by=NAN)
        for training in (switched, spared):
            training.step(step)
        norm = switched.optimizer.grad_norm
        assert (norm is None) == (limit is None and not skip)
    assert_same(switched.numbers(), spared.numbers())
    assert switched.optimizer.skipped_steps == 3


def test_a_state_that_an_option_adds_is_taken_back_too():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([param], skip_nonfinite=True)
    param.grad = torch.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    param.grad = torch.full((3,), NAN)
    optimizer.step()
    assert optimizer.state[param].keys() == {"step", "exp_avg", "exp_avg_sq"}
    param.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[param]["step"] == 2
    assert "max_exp_avg_sq" in optimizer.state[param]


@HOST_OR_DEVICE
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_skipped_step_is_a_step_to_everyone_else(backend, capturable):
    """Hooks run, the closure's loss is returned, gradients stay; what is counted is nobody else's to change."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([param], backend=backend, skip_nonfinite=True, capturable=capturable)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    factor = 1.0

    def closure():
        optimizer.zero_grad()
        loss = (param * factor).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    factor = INF
    before = param.detach().clone()
    assert optimizer.step(closure) == INF
    assert calls == ["pre", "post"] * 2
    assert torch.equal(param.detach(), before)
    assert torch.equal(param.grad, torch.full((3,), INF))
    optimizer.skipped_steps.zero_()
    assert optimizer.skipped_steps == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_accumulated_gradients(backend):
    """It is their sum that counts: one bad part spoils it, and two good ones may."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([param], backend=backend, skip_nonfinite=True)
    for parts, skipped in (((1.0, 2.0), 0), ((1.0, NAN), 1), ((INF, 1.0), 2), ((3e38, 3e38), 3), ((1.0, 1.0), 3)):
        optimizer.zero_grad()
        for part in parts:
            (param * part).sum().backward()
        optimizer.step()
        assert optimizer.skipped_steps == skipped
    assert optimizer.state[param]["step"] == 2


def test_autograd_may_follow():
    rate = torch.tensor(0.1, requires_grad=True)
    weights = []
    for schedule in ("gbg", "gg"):
        weight = torch.ones(3, requires_grad=True).clone()
        optimizer = AdamW([weight], lr=rate, differentiable=True, skip_nonfinite=True)
        for kind in schedule:
            weight.grad = torch.full((3,), NAN if kind == "b" else 1.0)
            optimizer.step()
        weights.append(weight)
    assert torch.equal(*weights)
    gradients = [torch.autograd.grad(weight.sum(), rate)[0] for weight in weights]
    assert gradients[0] != 0
    assert torch.equal(*gradients)
