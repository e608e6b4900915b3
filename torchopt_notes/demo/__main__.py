"""``python -m torchopt_notes.demo``: trains the GPT with both optimizers and compares them."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import AdamW
from ..engine.backends import BACKENDS
from .gpt import parameter_count
from .text import load
from .train import MakeOptimizer, Result, Settings, deterministic, initial_model, parameter_groups, train

INTERRUPTED = 130
"""The exit code of a process that Ctrl-C ended: 128 + SIGINT."""


@dataclass
class Stage:
    """How far the demo is, for the message after Ctrl-C."""

    message: str = "Stopped before the training began; nothing was written."

    def training(self, name: str, done: int, steps: int) -> None:
        """``done`` of ``steps`` steps with the optimizer ``name``."""
        self.message = f"Stopped after {done} of {steps} steps ({name}); nothing was written."

    def writing(self, out: Path) -> None:
        """The training is over and files are on their way."""
        self.message = f"Stopped while writing to {out}; the files there may be incomplete."


@dataclass
class Demo:
    """A checked request: everything that a user can get wrong is known to be right."""

    settings: Settings
    device: torch.device
    contestants: dict[str, MakeOptimizer]
    out: Path
    stage: Stage = field(default_factory=Stage)

    def run(self) -> None:
        """Trains, prints and writes."""
        from rich.console import Console

        from . import report

        console = Console()
        text = load(self.device)
        model = initial_model(text, self.settings, self.device)
        parameters = parameter_count(model)
        console.print(
            f"A GPT of {parameters:,} parameters on {report.device_name(self.device)} ({self.device}), "
            f"{self.settings.steps:,} steps with each optimizer.",
            highlight=False,
            soft_wrap=True,
        )
        with deterministic():
            reference, ours = self._train_all(console, model, text)
        console.print(report.comparison_table(reference, ours))
        console.print(report.backend_table(ours))
        self.stage.writing(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        plot, figures = self.out / "loss.png", self.out / "figures.json"
        report.write_plot(plot, reference, ours)
        report.write_json(figures, report.figures(reference, ours, self.settings, self.device, parameters))
        console.print(f"Wrote {plot} and {figures}.", highlight=False, soft_wrap=True)
