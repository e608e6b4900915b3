"""The command line: its options, and the checks that keep a mistake from costing a minute of training first."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import AdamW
from ..engine.backends import BACKENDS, Backend
from .train import Settings


@dataclass(frozen=True)
class Options:
    """A checked request."""

    settings: Settings
    device: torch.device
    backend: Backend
    out: Path


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options in ``arguments``, by default the process's. Exits with code 2 and a message when one is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    # Fails here rather than after the reference run when the backend cannot serve this device.
    try:
        probe = torch.nn.Parameter(torch.zeros(1, device=given.device))
        AdamW([probe], backend=given.backend).explain()
    except (AssertionError, RuntimeError) as error:
        parser.error(f"--device {given.device} --backend {given.backend}: {str(error).splitlines()[0]}")
    return Options(Settings(steps=given.steps, seed=given.seed), given.device, given.backend, given.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m torchopt_notes.demo",
        description="Train a small character-level GPT twice, with torch.optim.AdamW and with torchopt_notes.AdamW "
        "dropped in: same seed, same initial weights, same batches, same schedule, same clipping. Then compare.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--steps", type=_positive, default=Settings.steps, metavar="N", help="optimizer steps of each run"
    )
    parser.add_argument(
        "--seed", type=_seed, default=Settings.seed, metavar="N", help="seed of the initial weights and of the batches"
    )
    parser.add_argument(
        "--out",
        type=_folder,
        default=Path("demo_output"),
        metavar="FOLDER",
        help="where loss.png and figures.json go; created if it is missing",
    )
    parser.add_argument(
        "--device",
        type=_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N; cuda if there is a GPU",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="who runs torchopt_notes.AdamW: auto picks per parameter, any other is demanded",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2**63 - 1, got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    path = Path(text)
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder, but {nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise argparse.ArgumentTypeError(f"{nearest} is not writable; choose another folder")
    return path


def _device(text: str) -> torch.device:
    kind, _, number = text.partition(":")
    if kind not in ("cpu", "cuda") or (number and (kind == "cpu" or not number.isdecimal())):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:N, got {text!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(f"got {text!r}, but torch {torch.__version__} sees no GPU here; use cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"got {text!r}, but there are only {torch.cuda.device_count()} GPUs")
    return torch.device(text)
