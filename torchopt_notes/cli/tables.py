"""What the command shows while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..testing.comparison import Outcome
from ..testing.explained import Explained
from ..testing.reports import (
    COLUMNS,
    SAME_RULE,
    compared,
    counts,
    distances,
    figures,
    sentence,
    silence,
    stale_sentence,
)
from ..testing.survey import Result, cells

COLOURS = {"same": "green", "explained": "yellow", "failed": "bold red"}
"""Of verdicts; any other says nothing, and is dim."""


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[Result], None]]:
    """A bar, moved on by each result."""
    columns = (
        TextColumn("parity"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}"),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("parity", total=total, failed="", last="")
        failed: list[Outcome] = []

        def advance(result: Result) -> None:
            job = result.job
            bar.update(task, advance=1, last=f"{job.subject.name} {job.backend} {job.dtype}")
            failed.extend(result.failures)
            bar.update(task, failed=f"[red]{len(failed)} failed[/]" if failed else "")

        yield advance


def overview(results: Sequence[Result]) -> Table:
    """Optimizer × backend × dtype."""
    table = Table(title="Parity", caption="how to read it: docs/parity.md", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("optimizer", "backend", "dtype", "against"):
        table.add_column(title, no_wrap=True)
    for title, _ in COLUMNS:
        table.add_column(title, justify="left" if title in ("worst", "verdict") else "right", no_wrap=title != "worst")
    last = ""
    for cell in cells(results):
        if last and cell.optimizer != last:
            table.add_section()
        row = figures(cell)
        colour = COLOURS.get(cell.status, "dim")
        name = cell.optimizer if cell.optimizer != last else ""
        against = cell.against.removeprefix("torch.optim.")
        table.add_row(name, cell.backend, cell.dtype, against, *row[:-1], f"[{colour}]{row[-1]}[/]")
        last = cell.optimizer
    return table


def say(console: Console, results: Sequence[Result], stale: Sequence[Explained], seconds: float, workers: int) -> None:
    """Explained differences, failures in words, how far the numbers are apart, and the sum."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        for outcome in result.outcomes:
            if outcome.verdict == "explained":
                where = reasons.setdefault(outcome.explanation, [])
                where.append(f"{result.job.subject.name} {result.job.backend} {result.job.dtype} {outcome.scenario}")
    for reason, places in reasons.items():
        many = f" and {len(places) - 3} more" if len(places) > 3 else ""
        console.print(f"[yellow]explained[/] {', '.join(places[:3])}{many}: {escape(reason)}", highlight=False)
    for result in results:
        for outcome in result.failures:
            console.print(f"[bold red]failed[/] {escape(sentence(result, outcome))}", highlight=False, soft_wrap=True)
    for entry in stale:
        console.print(f"[bold red]stale[/] {escape(stale_sentence(entry))}", highlight=False, soft_wrap=True)
    found = cells(results)
    if len({cell.optimizer for cell in found}) == 1 < len(found):
        for cell in found:
            console.print(f"ulps, {cell.backend} {cell.dtype}: {cell.histogram}", highlight=False, soft_wrap=True)
    if sum(distances(found).counts):
        console.print(f"Distances from the references in ulps: {distances(found)}.", highlight=False, soft_wrap=True)
    if any("float64" in cell.against for cell in found):
        console.print(SAME_RULE, highlight=False, soft_wrap=True)
    if not compared(results):
        console.print(f"[bold red]{escape(silence(results))}[/]", highlight=False, soft_wrap=True)
    tally = ", ".join(f"{count:,} {verdict}" for verdict, count in counts(results).most_common())
    console.print(
        f"{len(found)} cells, {len(results)} cases in them, scenarios: {tally}; {seconds:.0f} s in "
        f"{workers} {'process' if workers == 1 else 'processes'}.",
        highlight=False,
    )
