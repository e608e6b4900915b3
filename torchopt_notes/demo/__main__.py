"""``python -m torchopt_notes.demo``: trains the GPT with both optimizers and compares them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .. import AdamW
from .gpt import GPT, parameter_count
from .options import Options, parse
from .text import Text, load
from .train import MakeOptimizer, Result, deterministic, initial_model, train

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""The exit code of a process that Ctrl-C ended: 128 + SIGINT."""


class Stage:
    """How far the demo is, for the message after Ctrl-C."""

    def __init__(self) -> None:
        self.message = "Stopped before the training began; nothing was written."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Args:
        arguments: the command line without the program's name; by default the process's.

    Returns:
        The exit code: 0, 1 when a package is missing, or 130 after Ctrl-C.
    """
    stage = Stage()
    try:
        options = parse(arguments)
        missing = [package for package in ("rich", "matplotlib") if importlib.util.find_spec(package) is None]
        if missing:
            needed = f"The demo needs {' and '.join(missing)}, not installed here: pip install 'torchopt-notes[cli]'"
            print(needed, file=sys.stderr)
            return 1
        run(options, stage)
    except KeyboardInterrupt:
        print(stage.message, file=sys.stderr)
        # An interrupt that passed through an exec of source text (making a dataclass is one) leaves a mark in CPython
        # that ends a "python -m" process by SIGINT, caught or not and whatever its exit code. An exec clears it.
        exec("")
        return INTERRUPTED
    return 0


def run(options: Options, stage: Stage) -> None:
    """Trains, prints and writes."""
    # Imported here: --help and the message about missing packages work without them.
    from rich.console import Console

    from . import report

    console = Console()
    text = load(options.device)
    model = initial_model(text, options.settings, options.device)
    parameters = parameter_count(model)
    console.print(
        f"A GPT of {parameters:,} parameters on {report.device_name(options.device)} ({options.device}), "
        f"{options.settings.steps:,} steps with each optimizer.",
        highlight=False,
        soft_wrap=True,
    )
    reference, ours = _train_both(options, model, text, console, stage)
    console.print(report.comparison_table(reference, ours))
    console.print(report.backend_table(ours))
    stage.message = f"Stopped while writing to {options.out}; the files there may be incomplete."
    options.out.mkdir(parents=True, exist_ok=True)
    plot, figures = options.out / "loss.png", options.out / "figures.json"
    report.write_plot(plot, reference, ours)
    report.write_json(figures, report.figures(reference, ours, options.settings, options.device, parameters))
    console.print(f"Wrote {plot} and {figures}.", highlight=False, soft_wrap=True)


def _train_both(options: Options, model: GPT, text: Text, console: Console, stage: Stage) -> tuple[Result, Result]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    settings = options.settings
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )

    def train_with(name: str, make_optimizer: MakeOptimizer) -> Result:
        task = progress.add_task(name, total=settings.steps, loss="-")

        def on_step(done: int, loss: float | None = None) -> None:
            stage.message = f"Stopped after {done} of {settings.steps} steps ({name}); nothing was written."
            progress.update(task, completed=done, loss="-" if loss is None else f"{loss:.4f}")

        on_step(0)
        return train(name, make_optimizer, model, text, settings, on_step)

    with deterministic(), Progress(*columns, console=console) as progress:
        return (
            train_with(
                "torch.optim.AdamW",
                lambda groups: torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas),
            ),
            train_with(
                "torchopt_notes.AdamW",
                lambda groups: AdamW(groups, lr=settings.lr, betas=settings.betas, backend=options.backend),
            ),
        )


if __name__ == "__main__":
    sys.exit(main())
