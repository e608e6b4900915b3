"""Bytes, memory, launches, limits and what a machine is called."""

import pytest
import torch

from benchmarks.contestants import HYPERPARAMETERS, OURS, YARDSTICK
from benchmarks.contestants.own import EAGER
from benchmarks.linearity import linearity
from benchmarks.measuring import limit, machine, memory
from benchmarks.measuring.traffic import minimal_bytes

ROWS, COLUMNS = 30, 50
ELEMENTS = ROWS * COLUMNS


def stepped(optimizer, contestant=None, dtype=torch.float32, gradients=2):
    params = [torch.nn.Parameter(torch.randn(ROWS, COLUMNS, dtype=dtype)) for _ in range(2)]
    for param in params[:gradients]:
        param.grad = torch.randn_like(param)
    make = (contestant or EAGER).maker(optimizer, HYPERPARAMETERS[optimizer], "cpu")
    made = make(params)
    made.step()
    return made


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", 20),  # gradient read, parameter and momentum read and written
        ("adamw", 28),  # two states
        ("lion", 20),
        ("ademamix", 36),  # three
        ("lamb", 40),  # 28, and gradient, parameter (its norm) and states read twice: less the gradient's second time
    ],
)
def test_bytes_of_an_update(optimizer, expected):
    assert minimal_bytes(stepped(optimizer)) == expected * 2 * ELEMENTS


def test_bytes_of_a_factored_update():
    """Gradient and parameter read, parameter written, the gradient once more for its averages, twice for the norms."""
    made = stepped("adafactor")
    per_matrix = minimal_bytes(made) / 2
    factors = 4 * (ROWS + COLUMNS)
    assert 5 * 4 * ELEMENTS < per_matrix <= 6 * 4 * ELEMENTS + 4 * factors


def test_without_a_gradient_nothing_moves():
    assert minimal_bytes(stepped("adamw", gradients=1)) == 28 * ELEMENTS
    assert minimal_bytes(stepped("adamw", gradients=0)) == 0


def test_bytes_follow_the_dtype():
    assert minimal_bytes(stepped("adamw", dtype=torch.bfloat16)) == 14 * 2 * ELEMENTS


def test_the_yardsticks_bytes_are_adamws():
    assert minimal_bytes(stepped("lamb", YARDSTICK)) == 28 * 2 * ELEMENTS


def test_a_temporary_is_found():
    a, b = torch.ones(10_000), torch.ones(10_000)
    assert memory.peak_extra(lambda: a.add_(a * b), "cpu") == a.nbytes
    assert memory.peak_extra(lambda: a.add_((a * b) + b), "cpu") == 2 * a.nbytes


def test_temporaries_one_after_the_other_count_once():
    a, b = torch.ones(10_000), torch.ones(10_000)

    def step():
        a.add_(a * b)
        a.add_(a * b)

    assert memory.peak_extra(step, "cpu") == a.nbytes


def test_an_operation_in_place_holds_nothing():
    a, b = torch.ones(10_000), torch.ones(10_000)
    assert memory.peak_extra(lambda: a.add_(b), "cpu") == 0


def test_there_are_no_launches_on_a_cpu():
    ran = []
    assert memory.launches(lambda: ran.append(1), "cpu") is None
    assert ran == []


def test_the_limit_is_bytes_over_seconds(monkeypatch):
    from benchmarks.measuring.clock import Samples

    def take_turns(steps, rounds, device):
        for (step,) in steps.values():
            step()
        return {name: Samples([2.0, 4.0, 2.0]) for name in steps}

    monkeypatch.setattr(limit, "take_turns", take_turns)
    found = limit.bandwidth("cpu", 1_000)
    assert found == {
        "copy": 4_000.0,  # 4 bytes read and 4 written, in 2 seconds
        "scale in place": 4_000.0,
        "add in place": 6_000.0,
        "multiply-add in place": 8_000.0,
    }


def test_linearity_is_time_per_element(monkeypatch):
    from benchmarks import linearity as module
    from benchmarks.measuring.clock import Samples

    monkeypatch.setattr(
        module, "take_turns", lambda *arguments: {"small": Samples([1.0, 1.0]), "large": Samples([20.0, 30.0])}
    )
    found = linearity("cpu", torch.float32, 2, small=4_000, times=10)
    assert found["elements"] == [4_000, 40_000]
    assert found["ratio"] == 2.5


def test_linearity_runs():
    found = linearity("cpu", torch.float32, 5, small=4_000, times=10)
    assert found["ratio"] > 0
    assert [len(raw) for raw in found["raw"].values()] == [5, 5]


def test_a_machine_is_described():
    found = machine.describe("cpu")
    assert found["torch"] == torch.__version__
    assert found["cores"] >= 1
    assert found["memory"] > 2**20
    assert "gpu" not in found
    assert machine.kind({"cores": 2}) == "cpu-2-cores"
    assert machine.kind({"cores": 2, "gpu": "NVIDIA H200"}) == "nvidia-h200"
    assert OURS.version == found["torchopt_notes"]


def test_a_cache_has_a_size_or_nobody_knows(monkeypatch, tmp_path):
    for number, size in enumerate(("48K", "2M", "105M", "")):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "size").write_text(f"{size}\n")
    genuine = machine.Path
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path if path.endswith("/cache") else genuine(path))
    assert machine.last_level_cache("cpu") == 105 * 2**20
    monkeypatch.setattr(machine, "Path", lambda path: genuine("/no/such/folder"))
    assert machine.last_level_cache("cpu") == 0


def test_outside_of_a_repository_there_is_no_commit(monkeypatch):
    def run(*arguments, **options):
        raise OSError("no git")

    monkeypatch.setattr(machine.subprocess, "run", run)
    assert machine.commit() == ""
