"""The benchmarks on a GPU: what they count and hold there, and that the command runs. No time is asserted."""

import json

import pytest
import torch

from benchmarks import gate
from benchmarks.campaign import Campaign
from benchmarks.cases import find_cases, shrunk
from benchmarks.command import main
from benchmarks.contestants import HYPERPARAMETERS, OURS, find_contestants
from benchmarks.gate import Verdict
from benchmarks.goals import goals
from benchmarks.measuring import clock, limit, machine, memory
from benchmarks.measuring.clock import Step, take_turns
from tests.benchmarks.wrong import MISTAKES, contestant
from tests.gpu.common import DEVICE

BYTES = 4 * 2**20


def tensors(count=2):
    return [torch.ones(2**20, device=DEVICE) for _ in range(count)]


def stepped(name, optimizer="adamw", shapes=((1_000,), (30, 50))):
    (one,) = [one for one in find_contestants(["*"]) if one.name == name]
    (case,) = find_cases(["tiny-2000"])
    params = case.make(shapes, DEVICE, torch.float32)
    made = one.maker(optimizer, HYPERPARAMETERS[optimizer], DEVICE)(params)
    made.step()
    return made


def test_a_temporary_is_found_and_an_operation_in_place_holds_nothing():
    a, b = tensors()
    assert memory.peak_extra(lambda: a.add_(a * b), DEVICE) == BYTES
    assert memory.peak_extra(lambda: a.add_(b), DEVICE) == 0


@pytest.mark.usefixtures("launched")
def test_kernels_count_and_copies_do_not():
    a, b = tensors()
    on_host = torch.ones(2**20).pin_memory()
    assert memory.launches(lambda: a.add_(b), DEVICE) == 1
    assert memory.launches(lambda: (a.add_(b), b.mul_(a)), DEVICE) == 2
    assert memory.launches(lambda: a.copy_(on_host), DEVICE) == 0


@pytest.mark.usefixtures("launched")
def test_ours_is_one_launch():
    assert memory.launches(stepped("ours").step, DEVICE) == 1
    assert memory.launches(stepped("torch for-loop").step, DEVICE) > 1


def test_device_and_host_are_timed_and_what_comes_before_is_not():
    log = []
    a, b = tensors()
    step = Step(lambda: (log.append("run"), a.add_(b)), lambda: log.append("before"))
    samples = take_turns({"a": [step]}, 6, DEVICE)["a"]
    assert len(samples.device) == len(samples.host) == 6
    assert min(*samples.device, *samples.host) > 0
    assert log == ["before", "run"] * (clock.WARM_UP + 6)


def test_a_step_that_waits_for_the_device_has_no_sleep_in_its_host_time():
    """It would be twice as long in every round."""
    a, b = tensors()
    samples = take_turns({"a": [Step(lambda: a.add_(b).sum().item())]}, 20, DEVICE)["a"]
    assert max(samples.host) < clock.LONGEST_SLEEP / 4


def test_the_limit_is_a_copys():
    found = limit.bandwidth(DEVICE, 10**6)
    assert found.keys() == {"copy"}
    assert found["copy"] > 0


def test_a_machine_is_named_by_its_gpu():
    found = machine.describe(DEVICE)
    assert found["gpu"] == torch.cuda.get_device_name(0)
    assert found["gpu cache"] > 0
    assert " " not in machine.kind(found)


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "lamb"])
def test_ours_is_right_on_its_kernels(optimizer, monkeypatch):
    backends = set()
    genuine = gate.compare

    def compare(candidate, reference, **options):
        params = [torch.nn.Parameter(torch.ones(3, device=DEVICE))]
        backends.add(candidate(params).explain()[0].backend)
        return genuine(candidate, reference, **options)

    monkeypatch.setattr(gate, "compare", compare)
    assert gate.examine(OURS, optimizer, HYPERPARAMETERS[optimizer], DEVICE, torch.float32) == Verdict(True)
    assert backends == {"triton"}


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_who_is_wrong_is_not_let_through(mistake):
    one = contestant(mistake=mistake)
    verdict = gate.examine(one, "adamw", HYPERPARAMETERS["adamw"], DEVICE, torch.float32)
    assert verdict.right is (mistake is None)


def test_cases_are_made_there():
    (case,) = find_cases(["embedding"])
    (param,) = case.make(shrunk(case.shapes(1e12)), DEVICE, torch.bfloat16)
    assert (param.device.type, param.grad.device.type, param.dtype) == (DEVICE, DEVICE, torch.bfloat16)
    assert Campaign(DEVICE).room > 10**8


def test_the_command_measures_and_writes(tmp_path):
    arguments = ["--quick", "--extras", "--cases", "one-200m", "--peers", "torch f*", "--optimizers", "adamw,lion"]
    assert main(["--device", DEVICE, *arguments, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert found["machine"]["gpu"] == torch.cuda.get_device_name(0)
    ours = [row for row in found["rows"] if row["contestant"] == "ours"]
    assert {(row["optimizer"], row["operation"]) for row in ours} >= {
        ("adamw", "step"),
        ("adamw", "unscale"),
        ("lion", "step"),
    }
    assert {row["backend"] for row in ours} == {"triton"}
    assert all(min(row["seconds"]) > 0 and row["launches"] is not None for row in ours)
    assert any("bytes per second against a copy" in goal.what for goal in goals({**found, "quick": False}))
    losses = {run["contestant"]: run["final_loss"] for run in found["training"] if "skipped" not in run}
    assert losses["ours"] == pytest.approx(losses["torch fused"], rel=1e-3)
