"""``python -m torchopt_notes parity``: is this optimizer right? A table, and an exit code for CI."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..testing.survey import Job

INTERRUPTED = 130
"""The exit code of a process that Ctrl-C ended: 128 + SIGINT."""

WIDTH = 132

DESCRIPTION = """\
Puts optimizers through named scenarios (shapes, layouts, gradients, groups, schedules, checkpoints …) and holds each
number against a reference: torch.optim's class, bit by bit on the eager backend; else a float64 oracle, within a few
derived units. Without options: every optimizer, backend and dtype that can run here.
"""

EPILOG = """\
Exit codes: 0, all the same or explained; 1, a difference, an explanation that is stale, or nothing that could be
compared; 2, bad arguments, a module that cannot be imported, or no rich; 130, interrupted.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to a parser of commands."""
    parser = commands.add_parser(
        "parity",
        help="hold every optimizer, or somebody else's, against its reference",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--optimizer", metavar="PATTERN", help="names of classes or cases, such as 'adam*'")
    parser.add_argument("--backend", type=_names, metavar="NAMES", help="eager, compiled, triton; with commas between")
    parser.add_argument("--dtype", type=_names, metavar="NAMES", help="fp32, bf16, fp16, fp64, complex64")
    parser.add_argument("--scenario", type=_names, metavar="NAMES", help="names of scenarios, with wildcards")
    parser.add_argument("--device", default="cpu", help="of the parameters: cpu (default) or cuda")
    parser.add_argument("--every-case", action="store_true", help="every set of flags in every cell; takes long")
    parser.add_argument("--against", metavar="MODULE:CLASS", help="check this optimizer against its counterpart here")
    parser.add_argument("--counterpart", metavar="NAME", help="which one that is; default: the one of that name")
    parser.add_argument("--arguments", type=_object, metavar="JSON", help="for both, such as '{\"lr\": 0.1}'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as a page")
    parser.add_argument("--jobs", type=_workers, metavar="N", help="processes; default: one per core")
    parser.set_defaults(run=lambda options: run(options, parser))


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Runs the command.

    Returns:
        0 if all is the same or explained, 1 if not or if nothing was compared, 2 if rich is missing, 130 after Ctrl-C.

    Exits with 2 where the arguments are wrong, which includes a module for ``--against`` that cannot be imported. 1 is
    never said of what did not run.
    """
    if importlib.util.find_spec("rich") is None:
        print("The command needs rich, not installed here: pip install 'torchopt-notes[cli]'", file=sys.stderr)
        return 2
    _check(options, parser)
    try:
        jobs = _jobs(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        return _survey(options, jobs)
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        # See the demo: an interrupt that passed through an exec of source text would end the process by SIGINT.
        exec("")
        return INTERRUPTED


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    import torch

    third_party = options.against is not None
    for name in ("counterpart", "arguments"):
        if not third_party and getattr(options, name) is not None:
            parser.error(f"--{name} belongs to --against")
    for name in ("optimizer", "backend"):
        if third_party and getattr(options, name) is not None:
            parser.error(f"--{name} is for this package's optimizers; --against brings its own")
    if third_party and options.every_case:
        parser.error("--every-case is for this package's optimizers; --against has one case, its --arguments")
    try:
        torch.empty(1, device=options.device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {options.device}: {str(error).splitlines()[0]}")
    for name in ("json", "markdown"):
        path = getattr(options, name)
        if path is None:
            continue
        folder = path.absolute().parent
        if path.is_dir():
            parser.error(f"--{name} {path}: that is a folder; name a file in it")
        if not folder.is_dir():
            parser.error(f"--{name} {path}: there is no folder {folder}")
        if not os.access(path if path.exists() else folder, os.W_OK):
            parser.error(f"--{name} {path}: cannot be written")


def _jobs(options: argparse.Namespace) -> list[Job]:
    from ..testing.plan import plan, plan_third_party
    from ..testing.trials import ThirdParty

    if options.against is not None:
        if "" not in sys.path:
            sys.path.insert(0, "")  # the module may lie in the current folder, however the command was started
        subject = ThirdParty(options.against, options.counterpart, options.arguments or {})
        return plan_third_party(subject, options.dtype, options.scenario, options.device)
    return plan(
        "*" if options.optimizer is None else options.optimizer,
        options.backend,
        options.dtype,
        options.scenario,
        options.device,
        every_case=options.every_case,
    )


def _survey(options: argparse.Namespace, jobs: Sequence[Job]) -> int:
    from rich.console import Console

    from ..testing.plan import missing_backends
    from ..testing.reports import as_json, page, passed
    from ..testing.survey import run_all, stale
    from . import tables

    # A file or a pipe has no width, for which rich takes 80 columns; the table needs more.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    workers = min(len(jobs), options.jobs or os.cpu_count() or 1)
    if options.against is None and options.backend is None:
        for backend, reason in missing_backends(options.device).items():
            console.print(f"Without {backend}: {reason}.", highlight=False, soft_wrap=True, style="yellow")
    started = time.perf_counter()
    # One process compiles one thing at a time; torch's own pool of compilers would only compete with the others.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    with tables.progress(console, len(jobs)) as advance:
        results = run_all(jobs, 0 if workers == 1 else workers, advance)
    seconds = time.perf_counter() - started
    outdated = stale(results) if _whole(options) else []
    console.print(tables.overview(results))
    tables.say(console, results, outdated, seconds, workers)
    _write(options.json, lambda: json.dumps(as_json(results, outdated, seconds, workers), indent=1) + "\n")
    _write(options.markdown, lambda: page(results, outdated))
    return 0 if passed(results, outdated) else 1


def _whole(options: argparse.Namespace) -> bool:
    """Whether nothing was left out, so that a difference that does not show is not there."""
    chosen = (options.optimizer, options.backend, options.dtype, options.scenario, options.against)
    return all(choice is None for choice in chosen) and options.device == "cpu"


def _write(path: Path | None, text: Any) -> None:
    if path is not None:
        path.write_text(text(), encoding="utf-8")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must name something")
    return names


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'must be an object such as {{"lr": 0.1}}, got {text!r}')
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
