"""Going on from a state dict: in a new process, at every step, exactly; and what is no state for this scheduler."""

import copy
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchopt_notes import schedules as S

from . import resumed
from .cases import EVERY
from .common import make, numbers, sgd, train, trajectory

ROOT = Path(__file__).parents[2]
SCHEDULE = S.warmup(5) >> S.cosine(20, end=0.1)


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """What a new process makes of the checkpoints of every step of every schedule, by schedule and step."""
    given, results = (tmp_path_factory.mktemp("resume") / name for name in ("given.pt", "results.pt"))
    checkpoints = []
    for name in EVERY:
        scheduler = resumed.make(name)
        scheduler.optimizer.step()
        for step in range(resumed.STEPS):
            states = {"scheduler": scheduler.state_dict(), "optimizer": scheduler.optimizer.state_dict()}
            checkpoints.append({"name": name, "step": step, **copy.deepcopy(states)})
            scheduler.step()
    torch.save(checkpoints, given)
    command = [sys.executable, "-m", "tests.schedules.resumed", str(given), str(results)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    found = torch.load(results, weights_only=True)
    return {(one["name"], one["step"]): row for one, row in zip(checkpoints, found, strict=True)}


@pytest.mark.parametrize("name", EVERY)
def test_a_new_process_goes_on_exactly_from_every_step(continued, name):
    uninterrupted = resumed.row(resumed.make(name), resumed.STEPS)
    assert uninterrupted == [(0.3 * EVERY[name](step), 0.9 * EVERY[name](step)) for step in range(resumed.STEPS + 1)]
    rows = [continued[name, step] for step in range(resumed.STEPS)]
    assert rows == [uninterrupted[step:] for step in range(resumed.STEPS)]
    if len(set(uninterrupted)) > 1:
        assert rows[1:] != [uninterrupted[step:-1] for step in range(resumed.STEPS - 1)], "control: one step early"


def parts(state):
    if isinstance(state, dict):
        for key, value in state.items():
            assert type(key) is str
            yield from parts(value)
    elif isinstance(state, list):
        for value in state:
            yield from parts(value)
    else:
        yield state


@pytest.mark.parametrize("name", EVERY)
def test_a_state_is_a_handful_of_numbers(name):
    scheduler = resumed.make(name)
    scheduler.seek(17)
    found = list(parts(scheduler.state_dict()))
    assert {type(one) for one in found} <= {int, float}
    assert len(found) == 6
    assert saved_and_loaded(scheduler.state_dict()) == scheduler.state_dict()


def test_a_state_with_callables_tensors_and_groups_left_alone():
    optimizer = make("torch.AdamW", lr=torch.tensor(0.25), foreach=False)
    scheduler = S.Scheduler(optimizer, lr=lambda step: 0.9**step, weight_decay=[S.linear(9)])
    state = saved_and_loaded(scheduler.state_dict())
    assert state["horizons"] == {"lr": None, "weight_decay": [9]}
    assert {type(one) for one in parts(state)} == {int, float, torch.Tensor, type(None)}
    assert S.Scheduler(sgd(2), lr=[None, S.linear(7)]).state_dict()["horizons"] == {"lr": [None, 7]}


@pytest.mark.parametrize("optimizer_first", [False, True])
@pytest.mark.parametrize("lr", [0.25, torch.tensor(0.25)], ids=["number", "tensor"])
@pytest.mark.parametrize("kind", ["torch.AdamW", "AdamW"])
def test_the_order_of_loading_makes_no_difference_at_any_step(kind, lr, optimizer_first):
    def make_one():
        given = lr.clone() if isinstance(lr, torch.Tensor) else lr
        optimizer = make(kind, lr=given, **({"foreach": False} if "torch" in kind else {}))
        return S.Scheduler(optimizer, {"betas[0]": S.linear(40)}, lr=SCHEDULE)

    expected = trajectory(make_one(), 30)
    for step in range(30):
        before, after = make_one(), make_one()
        before.seek(step)
        train(before.optimizer)
        loads = [(after.optimizer, before.optimizer), (after, before)]
        for one, other in loads if optimizer_first else reversed(loads):
            one.load_state_dict(saved_and_loaded(other.state_dict()))
        assert trajectory(after, 30 - step) == expected[step:]
        assert after.optimizer.param_groups[0]["betas"] == (0.9 * S.linear(40)(30), 0.99)


def test_nothing_is_shared_with_the_state():
    scheduler = S.Scheduler(make("torch.AdamW", lr=torch.tensor(0.25), foreach=False), lr=SCHEDULE)
    state = scheduler.state_dict()
    before = copy.deepcopy(state)
    for _ in range(7):
        train(scheduler.optimizer)
        scheduler.step()
    assert state == before
    other = S.Scheduler(make("torch.AdamW", lr=torch.tensor(0.5), foreach=False), lr=SCHEDULE)
    other.load_state_dict(state)
    other.seek(9)
    assert state == before
    assert other.get_last_lr()[0].item() == pytest.approx(0.25 * SCHEDULE(9))


def test_base_values_come_with_the_state():
    before, after = S.Scheduler(sgd(lr=0.3), lr=SCHEDULE), S.Scheduler(sgd(), lr=SCHEDULE)
    after.optimizer.param_groups[0]["initial_lr"] = 8.0
    after.base_values["lr"][0] = after.base_lrs[0] = 8.0
    before.seek(7)
    after.load_state_dict(before.state_dict())
    assert after.get_last_lr() == [0.3 * SCHEDULE(7)]
    assert (after.base_lrs, after.optimizer.param_groups[0]["initial_lr"]) == ([0.3], 0.3)
    assert after.state_dict() == before.state_dict()


def test_the_state_of_a_run_with_a_later_group():
    before = S.Scheduler(sgd(), lr=SCHEDULE)
    before.seek(3)
    before.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.8})
    for step in (3, 4):
        after = S.Scheduler(sgd(2), lr=SCHEDULE)
        after.load_state_dict(saved_and_loaded(before.state_dict()))
        assert after.get_last_lr() == [0.3 * SCHEDULE(step), 0.8 * SCHEDULE(step)]
        before.optimizer.step()
        before.step()


def test_a_new_horizon_must_be_meant():
    before = S.Scheduler(sgd(), lr=S.cosine(100), momentum=S.linear(40))
    before.seek(30)
    state = saved_and_loaded(before.state_dict())
    longer = {"lr": S.cosine(200), "momentum": S.linear(40)}
    after = S.Scheduler(sgd(), longer)
    unchanged = numbers(after.optimizer), after.state_dict()
    old, new = "{'lr': 100, 'momentum': 40}", "{'lr': 200, 'momentum': 40}"
    with pytest.raises(ValueError, match=f"{re.escape(old)}.*{re.escape(new)}.*pass allow_new_horizon=True"):
        after.load_state_dict(state)
    assert (numbers(after.optimizer), after.state_dict()) == unchanged
    meant = S.Scheduler(sgd(), longer, allow_new_horizon=True)
    meant.load_state_dict(state)
    assert meant.last_epoch == 30
    assert trajectory(meant, 40) == [0.3 * S.cosine(200)(step) for step in range(30, 71)]
    assert meant.state_dict()["horizons"] == {"lr": 200, "momentum": 40}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S.cosine(100), S.constant()),
        (S.cosine(100), lambda step: 1.0),
        (S.cosine(100), [S.cosine(100)]),
        ([S.cosine(100)], [S.cosine(101)]),
    ],
)
def test_other_kinds_of_horizons_are_others_too(before, after):
    state = S.Scheduler(sgd(), lr=before).state_dict()
    with pytest.raises(ValueError, match="horizons"):
        S.Scheduler(sgd(), lr=after).load_state_dict(state)
    S.Scheduler(sgd(), lr=after, allow_new_horizon=True).load_state_dict(state)
    S.Scheduler(sgd(), lr=before).load_state_dict(state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            lambda: S.Scheduler(sgd(2), momentum=SCHEDULE).state_dict(),
            "of one that drives momentum; this one drives lr",
        ),
        (lambda: S.Scheduler(sgd(2), lr=SCHEDULE, momentum=SCHEDULE).state_dict(), "drives lr, momentum; .* drives lr"),
        (lambda: S.Scheduler(sgd(3), lr=SCHEDULE).state_dict(), "3 base values of lr; the optimizer has 2 groups"),
        (lambda: S.Scheduler(sgd(1), lr=SCHEDULE).state_dict(), "1 base values of lr; the optimizer has 2 groups"),
        (dict, "lacks _step_count, base_values, horizons, last_epoch"),
        (
            lambda: torch.optim.lr_scheduler.StepLR(sgd(2), 3).state_dict(),
            "no state of a Scheduler, it lacks base_values",
        ),
    ],
)
def test_the_state_of_something_else_is_refused_before_anything_changes(state, message):
    scheduler = S.Scheduler(sgd(2), lr=SCHEDULE)
    scheduler.seek(7)
    before = numbers(scheduler.optimizer), scheduler.state_dict(), scheduler.get_last_lr()
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict(state())
    assert (numbers(scheduler.optimizer), scheduler.state_dict(), scheduler.get_last_lr()) == before
    scheduler.optimizer.step()
    scheduler.step()
    assert numbers(scheduler.optimizer) != before[0], "control"


@pytest.mark.parametrize("saved", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
@pytest.mark.parametrize("present", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_a_base_value_comes_back_as_what_the_optimizer_has(saved, present):
    def made(lr):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
        return optimizer, S.Scheduler(optimizer, lr=S.linear(10))

    state = made(saved)[1].state_dict()
    optimizer, scheduler = made(present)
    scheduler.load_state_dict(state)
    scheduler.seek(5)
    lr = optimizer.param_groups[0]["lr"]
    assert isinstance(lr, torch.Tensor) == isinstance(present, torch.Tensor)
    assert float(lr) == 0.25
