"""A run that is resumed by another process goes on as if nothing had happened, from every step, to the last bit."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .cases import CASES, MODULES, OPTIMIZERS, advance, driven
from .resuming import ORDERS, STEPS, load_schedulers, made

ROOT = Path(__file__).parents[2]
LAST = 60
# Other arguments of a class make no difference here.
RESUMED = [case for case in CASES if "by default" not in case]
TORCHS = ("SequentialLR warm-up and cosine", "ExponentialLR", "CyclicLR")


class Uninterrupted:
    """A run, and its states at every step up to the last that is resumed."""

    def __init__(self, module, case, optimizer_name):
        optimizer = OPTIMIZERS[optimizer_name]()
        schedulers = CASES[case](MODULES[module], optimizer)
        self.values = [driven(optimizer)]
        self.saved = []
        for step in range(LAST + STEPS + 1):
            if step <= LAST:
                states = copy.deepcopy([scheduler.state_dict() for scheduler in schedulers])
                one = {"module": module, "case": case, "optimizer": optimizer_name, "step": step}
                one |= {"scheduler states": states, "optimizer state": copy.deepcopy(optimizer.state_dict())}
                self.saved.append(one)
            advance(optimizer, schedulers, step)
            self.values.append(driven(optimizer))

    def wrong_steps(self, resumed, order):
        """The steps where a run resumed in that order is not this one."""
        values = torch.tensor(self.values, dtype=torch.float64)
        return [step for step in range(LAST + 1) if not torch.equal(resumed[step][order], values[step:][: STEPS + 1])]


@pytest.fixture(scope="module")
def runs():
    found = {}
    for index, case in enumerate(RESUMED):
        # torch's optimizers and ours in turn, momentum and betas in turn.
        found["ours", case] = Uninterrupted("ours", case, list(OPTIMIZERS)[index % len(OPTIMIZERS)])
    return found | {("torch", case): Uninterrupted("torch", case, "torch SGD") for case in TORCHS}


@pytest.fixture(scope="module")
def resumed(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resuming")
    torch.save([one for run in runs.values() for one in run.saved], folder / "saved.pt")
    command = [sys.executable, "-m", "tests.lr_scheduler.resuming", folder / "saved.pt", folder / "resumed.pt"]
    subprocess.run(command, cwd=ROOT, check=True)
    results = torch.load(folder / "resumed.pt", weights_only=True)
    each = LAST + 1
    return {key: results[index * each : (index + 1) * each] for index, key in enumerate(runs)}


@pytest.mark.parametrize("order", [order.__name__ for order in ORDERS])
@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_run_goes_on_as_if_nothing_had_happened(runs, resumed, case, order):
    assert runs["ours", case].wrong_steps(resumed["ours", case], order) == []


def test_the_way_that_torch_describes_is_right_with_torch_too(runs, resumed):
    for case in TORCHS:
        assert runs["torch", case].wrong_steps(resumed["torch", case], "optimizer_first") == []


@pytest.mark.parametrize("case", TORCHS)
def test_what_goes_wrong_with_torch_if_the_optimizer_is_loaded_before_schedulers_are_made_is_noticed(
    runs, resumed, case
):
    wrong = runs["torch", case].wrong_steps(resumed["torch", case], "optimizer_before_schedulers_are_made")
    # An ExponentialLR sets nothing when it is made.
    assert (len(wrong) > LAST // 2) == (case != "ExponentialLR")


def test_a_run_that_is_a_step_behind_would_be_noticed(runs, resumed):
    run, results = runs["ours", "ExponentialLR"], resumed["ours", "ExponentialLR"]
    assert len(run.wrong_steps(results[1:] + results[:1], "optimizer_first")) == LAST + 1


@pytest.mark.parametrize("case", RESUMED)
def test_without_the_state_of_the_optimizer_the_values_are_the_same(runs, case):
    run = runs["ours", case]
    for one in run.saved:
        optimizer, schedulers = made(one)
        load_schedulers(schedulers, one)
        assert driven(optimizer) == run.values[one["step"]]


@pytest.mark.parametrize("case", ["two in turn", "three in turn"])
def test_states_of_schedulers_in_turn_are_loaded_in_any_order(runs, case):
    run = runs["ours", case]
    for one in run.saved:
        optimizer, schedulers = made(one)
        for scheduler, state in reversed(list(zip(schedulers, one["scheduler states"], strict=True))):
            scheduler.load_state_dict(state)
        assert driven(optimizer) == run.values[one["step"]]


def test_schedulers_of_batches_and_of_epochs_resume_in_the_middle_of_an_epoch():
    def made():
        optimizer = OPTIMIZERS["torch SGD"]()
        module = MODULES["ours"]
        return optimizer, module.ExponentialLR(optimizer, 0.9), module.StepLR(optimizer, 1, 0.5)

    optimizer, of_batches, of_epochs = made()
    for batch in range(25):
        optimizer.step()
        of_batches.step()
        if batch % 10 == 9:
            of_epochs.step()
    state = copy.deepcopy(optimizer.state_dict())
    states = copy.deepcopy((of_batches.state_dict(), of_epochs.state_dict()))
    for order in (1, -1):
        other, *schedulers = made()
        other.load_state_dict(state)
        for scheduler, one in list(zip(schedulers, states, strict=True))[::order]:
            scheduler.load_state_dict(one)
        assert driven(other) == driven(optimizer)


def test_what_was_set_by_hand_after_the_last_step_comes_back():
    optimizer = OPTIMIZERS["torch SGD"]()
    scheduler = MODULES["ours"].ExponentialLR(optimizer, 0.9)
    optimizer.step()
    scheduler.step()
    optimizer.param_groups[0]["lr"] = 0.5
    state = copy.deepcopy(scheduler.state_dict())
    other = OPTIMIZERS["torch SGD"]()
    MODULES["ours"].ExponentialLR(other, 0.9).load_state_dict(state)
    assert driven(other) == driven(optimizer)
