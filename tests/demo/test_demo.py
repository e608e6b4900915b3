"""The demo: its data, its model, and the program from start to finish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("rich", reason="the demo needs the extra 'cli'")
pytest.importorskip("matplotlib", reason="the demo needs the extra 'cli'")

from torchopt_notes.demo.__main__ import INTERRUPTED, main
from torchopt_notes.demo.gpt import GPT, parameter_count
from torchopt_notes.demo.text import Text, batches, load
from torchopt_notes.demo.train import Settings, initial_model, lr_factor, parameter_groups

CPU = torch.device("cpu")
NAMES = ("torch.optim.AdamW", "torchopt_notes.AdamW")


@pytest.fixture(scope="module")
def text() -> Text:
    return load(CPU)


@pytest.fixture(scope="module")
def model(text: Text) -> GPT:
    return initial_model(text, Settings(), CPU)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job started in a shell's background ignores Ctrl-C, and so would the processes that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_text_is_long_and_split_without_overlap(text: Text) -> None:
    characters = len(text.train) + len(text.validation)
    assert characters >= 400_000
    assert len(text.validation) == pytest.approx(characters / 10, abs=1)
    assert int(torch.cat([text.train, text.validation]).max()) == len(text.vocabulary) - 1


def test_batches_follow_their_seed(text: Text) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        return [torch.stack(pair) for pair in batches(text.train, 3, 2, 7, seed)]

    torch.testing.assert_close(drawn(5), drawn(5), rtol=0, atol=0)
    assert not any(torch.equal(a, b) for a, b in zip(drawn(5), drawn(6), strict=True))


def test_targets_are_the_next_characters(text: Text) -> None:
    tokens, targets = next(batches(text.train, 1, 2, 7, 0))
    assert tokens.shape == targets.shape == (2, 7)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])


def test_batches_reach_both_ends() -> None:
    part = torch.arange(5)
    starts = {int(tokens[0, 0]) for tokens, _ in batches(part, 200, 1, 3, 0)}
    assert starts == {0, 1}


def test_model_size(model: GPT) -> None:
    assert 550_000 <= parameter_count(model) <= 650_000


def test_model_is_causal(model: GPT, text: Text) -> None:
    tokens = text.train[None, :16].clone()
    before = model(tokens)
    tokens[0, 10] = (tokens[0, 10] + 1) % len(text.vocabulary)
    after = model(tokens)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_initial_weights_follow_the_seed_and_leave_the_global_one(text: Text, model: GPT) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again, other = (initial_model(text, Settings(seed=seed), CPU) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.token.weight, model.token.weight)
    assert not torch.equal(other.token.weight, model.token.weight)


def test_groups_hold_every_parameter_once(model: GPT) -> None:
    named = [entry for group in parameter_groups(model, Settings()) for entry in group["params"]]
    assert sorted(name for name, _ in named) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("steps", [1, 3, 600])
def test_schedule_stays_within_its_bounds(steps: int) -> None:
    settings = Settings(steps=steps)
    factors = [lr_factor(step, settings) for step in range(steps + 1)]
    assert max(factors) == pytest.approx(1)
    assert factors[-1] == pytest.approx(settings.final_lr_share)
    assert all(0 < factor <= 1 for factor in factors)


def test_three_steps_write_a_plot_and_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["--steps", "3", "--device", "cpu", "--backend", "eager", "--seed", "7", "--out", str(out)]) == 0

    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    figures: dict[str, Any] = json.loads((out / "figures.json").read_text())
    assert figures["versions"].keys() == {"python", "torch", "torchopt_notes"}
    assert (figures["steps"], figures["seed"], figures["device"]) == (3, 7, "cpu")
    assert figures["device_name"]
    for key in ("losses", "final_training_loss", "final_validation_loss", "optimizer_seconds_per_step", "state_bytes"):
        assert tuple(figures[key]) == NAMES, key
    assert [len(curve) for curve in figures["losses"].values()] == [3, 3]
    assert all(seconds > 0 for seconds in figures["optimizer_seconds_per_step"].values())
    # Two averages in float32 and one step count for each tensor.
    assert all(count > 8 * figures["parameters"] for count in figures["state_bytes"].values())
    # Eager is bit-for-bit torch.optim, and everything around the optimizers is deterministic.
    assert figures["largest_loss_difference"] == 0
    assert {row["backend"] for row in figures["backends"]} == {"eager"}
    assert sum(row["elements"] for row in figures["backends"]) == figures["parameters"]
    assert all(row["reason"] for row in figures["backends"])

    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert not torch.are_deterministic_algorithms_enabled()


def _folder_is_a_file(tmp_path: Path) -> list[str]:
    (tmp_path / "file").touch()
    return ["--out", str(tmp_path / "file")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda _: ["--steps", "0"], "must be a whole number of at least 1, got '0'"),
        (lambda _: ["--steps", "many"], "must be a whole number of at least 1, got 'many'"),
        (lambda _: ["--seed", "-1"], "must be a whole number from 0"),
        (lambda _: ["--device", "toaster"], "must be cpu, cuda or cuda:N, got 'toaster'"),
        (lambda _: ["--device", "cuda:99"], "got 'cuda:99', but"),
        (lambda _: ["--backend", "magic"], "invalid choice: 'magic'"),
        (_folder_is_a_file, "must be a folder"),
    ],
    ids=["no-steps", "words", "seed", "device", "gpu-number", "backend", "out"],
)
def test_bad_arguments_say_what_is_allowed(
    arguments: Callable[[Path], list[str]], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tmp_path))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_backend_that_cannot_run_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchopt_notes.engine.backends.interpreted", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main(["--backend", "triton", "--device", "cpu"])
    assert stopped.value.code == 2
    assert "--backend triton: AdamW: backend='triton' cannot run here" in capsys.readouterr().err


def test_missing_packages_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--steps", "1", "--device", "cpu", "--backend", "eager"]) == 1
    error = capsys.readouterr().err
    assert "rich and matplotlib" in error
    assert "pip install 'torchopt-notes[cli]'" in error


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_without_a_traceback(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "torchopt_notes.demo", "--steps", "100000", "--device", "cpu", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # The first line comes when the training is about to begin.
        assert "100,000 steps" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in output + error
    assert error.startswith("Stopped ")
    assert error.endswith("nothing was written.\n")
    assert not out.exists()


def test_ctrl_c_while_modules_load_has_the_same_exit_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from torchopt_notes.demo import __main__ as demo\n"
        "demo.parse = lambda _: exec('raise KeyboardInterrupt')\n"
        "sys.exit(demo.main())\n"
    )
    done = subprocess.run(
        # With -m, like the demo: a script's exit code is not touched by the mark that such an interrupt leaves.
        [sys.executable, "-m", "interrupted"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == "Stopped before the training began; nothing was written.\n"
    assert done.returncode == INTERRUPTED
