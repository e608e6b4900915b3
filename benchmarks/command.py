"""The command."""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import ratchet, report
from benchmarks.campaign import Campaign
from benchmarks.cases import CASES
from benchmarks.contestants import CONTESTANTS, HYPERPARAMETERS, OURS
from benchmarks.measuring import machine
from benchmarks.operations import OPERATIONS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WIDTH = 150
DIGITS = 6
"""Of a figure in a file: clocks are no more exact."""

DESCRIPTION = """\
Measures this package, torch.optim and whatever other packages are installed, side by side on the same work. Everybody's
result is checked before it is timed. Without options: AdamW in every case that fits this machine, and every optimizer
on one large tensor.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.

    Returns:
        0; 1 if this package is wrong somewhere.

    Raises:
        SystemExit: with 2, for bad arguments.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        run: Callable[[], int] = options.prepare(options)
    except ValueError as error:
        parser.error(str(error))
    return run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=DESCRIPTION)
    parser.set_defaults(prepare=_measure)
    commands = parser.add_subparsers(title="commands", metavar="")
    moved = commands.add_parser("compare", help="what moved between two results, beyond the noise")
    moved.add_argument("old", type=Path, metavar="A.json")
    moved.add_argument("new", type=Path, metavar="B.json")
    moved.set_defaults(prepare=_compare)
    choices = commands.add_parser("thresholds", help="the figures behind the engine's choices on a CPU")
    choices.add_argument("--rounds", type=int, default=21, help="timed steps (default: %(default)s)")
    choices.add_argument("--out", type=Path, metavar="FILE", help="write JSON there")
    choices.set_defaults(prepare=_thresholds)
    pages = commands.add_parser("page", help="write docs/benchmarks.md and its plots from the committed results")
    pages.set_defaults(prepare=_page)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", type=_names, default=("*",), metavar="NAMES", help="with commas, and wildcards")
    parser.add_argument("--optimizers", type=_names, metavar="NAMES", help="in all cases; default: see above")
    parser.add_argument("--peers", type=_names, default=("*",), metavar="NAMES", help="such as 'torch*,optimi'")
    parser.add_argument("--operations", type=_names, default=OPERATIONS, metavar="NAMES", help=", ".join(OPERATIONS))
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the parameters (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=31, help="timed steps of each contestant (default: %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=6.0, metavar="SECONDS", help="for two contestants (default: %(default)s)"
    )
    parser.add_argument(
        "--extras",
        action=argparse.BooleanOptionalAction,
        help="also curves, a training, times at start and on the host (default: where all cases are measured)",
    )
    parser.add_argument("--quick", action="store_true", help="small likenesses, to see that everything works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write JSON, tables and plots there")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must name something")
    return names


def _measure(options: argparse.Namespace) -> Callable[[], int]:
    console = Console() if os.isatty(1) else Console(width=WIDTH)
    if options.list:
        return functools.partial(_list, console)
    campaign = Campaign(
        device=options.device,
        dtype=DTYPES[options.dtype],
        cases=options.cases,
        optimizers=options.optimizers,
        peers=options.peers,
        operations=options.operations,
        rounds=options.rounds,
        budget=options.budget,
        quick=options.quick,
        extras=options.extras,
    )
    campaign.check()
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--out {options.out}: {error.strerror}") from error
    return functools.partial(_run, campaign, options.out, console)


def _run(campaign: Campaign, out: Path | None, console: Console) -> int:
    path = None
    if out is not None:
        dtype = next(name for name, known in DTYPES.items() if known is campaign.dtype)
        path = out / f"{machine.kind(machine.describe(campaign.device))}-{dtype}{campaign.suffix}.json"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        result = campaign.run(progress, functools.partial(_save, path) if path is not None else lambda result: None)
    report.show(result, console)
    if path is not None:
        path.with_suffix(".md").write_text(report.markdown(result))
        console.print(f"Written: {path}, {path.with_suffix('.md')}")
        _draw(result, path.with_suffix(""), console)
    return int(any(row["wrong"] for row in result["rows"] if row["contestant"] == OURS.name))


def _save(path: Path, result: dict[str, Any]) -> None:
    path.write_text(json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n")


def _draw(result: dict[str, Any], folder: Path, console: Console) -> None:
    try:
        from benchmarks import plots
    except ModuleNotFoundError as error:
        console.print(f"No plots: {error}. `python -m benchmarks page` draws them where there is one.", style="yellow")
        return
    folder.mkdir(exist_ok=True)
    plots.draw(result, folder)
    console.print(f"Drawn: {folder}")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _compare(options: argparse.Namespace) -> Callable[[], int]:
    old, new = ratchet.load(options.old), ratchet.load(options.new)

    def run() -> int:
        for line in ratchet.text(old, new):
            print(line)
        return 0

    return run


def _thresholds(options: argparse.Namespace) -> Callable[[], int]:
    from benchmarks import thresholds

    def run() -> int:
        found = {"machine": machine.describe("cpu"), **thresholds.measure(options.rounds)}
        thresholds.show(found)
        if options.out is not None:
            options.out.write_text(json.dumps(_rounded(found), indent=1) + "\n")
        return 0

    return run


def _page(options: argparse.Namespace) -> Callable[[], int]:
    from benchmarks import page

    def run() -> int:
        page.write()
        return 0

    return run


def _list(console: Console) -> int:
    console.print("[bold]cases[/]")
    for case in CASES:
        console.print(f"  {case.name:14} {case.about}", highlight=False)
    console.print(f"[bold]optimizers[/]\n  {', '.join(HYPERPARAMETERS)}", highlight=False)
    console.print("[bold]contestants[/]")
    for one in CONTESTANTS:
        console.print(f"  {one.name:24} {one.version or 'not installed'}", highlight=False)
    return 0
