"""What is left of a run: tables for the terminal, a plot and a JSON file for later."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import torch
from rich.table import Table

from .. import __version__
from .train import Result, Settings, largest_difference


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def comparison_table(reference: Result, ours: Result) -> Table:
    """The two contestants side by side."""
    table = Table(title="One GPT, trained twice", caption="losses in nats per character")
    table.add_column("")
    for result in (reference, ours):
        table.add_column(result.name, justify="right")
    rows = {
        f"training loss, mean of the last {min(20, len(ours.losses))} steps": [
            f"{result.final_loss:.6f}" for result in (reference, ours)
        ],
        "validation loss": [f"{result.validation_loss:.6f}" for result in (reference, ours)],
        "largest difference of the loss curves": ["", f"{largest_difference(reference.losses, ours.losses):.3g}"],
        "optimizer time per step, median": [f"{result.step_seconds * 1e3:.3f} ms" for result in (reference, ours)],
        "optimizer state": [f"{result.state_bytes:,} bytes" for result in (reference, ours)],
    }
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def backend_table(result: Result) -> Table:
    """Which backend served which parameters, and why."""
    table = Table(title=f"Who ran {result.name}")
    table.add_column("parameters")
    table.add_column("elements", justify="right")
    table.add_column("backend")
    table.add_column("reason")
    for row in result.backends:
        count = len(row.parameters)
        label = ", ".join(row.parameters) if count <= 2 else f"{row.parameters[0]} … {row.parameters[-1]} ({count})"
        table.add_row(label, f"{row.elements:,}", row.backend, row.reason)
    return table


def write_plot(path: Path, reference: Result, ours: Result) -> None:
    """Both loss curves over their difference, as a PNG."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = range(1, len(ours.losses) + 1)
    figure, (curves, difference) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 1))
    # Wide below narrow: equal curves cover each other, and both should be seen.
    curves.plot(steps, reference.losses, label=reference.name, linewidth=4, alpha=0.4)
    curves.plot(steps, ours.losses, label=ours.name, linewidth=1)
    curves.set_ylabel("training loss (nats per character)")
    curves.legend()
    difference.plot(steps, [abs(a - b) for a, b in zip(reference.losses, ours.losses, strict=True)], linewidth=1)
    difference.set_ylim(bottom=0)
    difference.set_ylabel("|difference|")
    difference.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def figures(
    reference: Result, ours: Result, settings: Settings, device: torch.device, parameters: int
) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    results = (reference, ours)
    return {
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchopt_notes": __version__},
        "device": str(device),
        "device_name": device_name(device),
        "steps": settings.steps,
        "seed": settings.seed,
        "settings": asdict(settings),
        "parameters": parameters,
        "losses": {result.name: result.losses for result in results},
        "final_training_loss": {result.name: result.final_loss for result in results},
        "final_validation_loss": {result.name: result.validation_loss for result in results},
        "largest_loss_difference": largest_difference(reference.losses, ours.losses),
        "optimizer_seconds_per_step": {result.name: result.step_seconds for result in results},
        "state_bytes": {result.name: result.state_bytes for result in results},
        "backends": [row._asdict() for row in ours.backends],
    }


def write_json(path: Path, values: dict[str, Any]) -> None:
    """``values`` as indented JSON."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
