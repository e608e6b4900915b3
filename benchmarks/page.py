"""``docs/benchmarks.md``, its plots, and the README's figures, from the committed results."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import plots, ratchet, report
from benchmarks.campaign import PARTS
from benchmarks.cases import CASES
from torchopt_notes.optim.registry import optimizers

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images" / "benchmarks"

INTRODUCTION = """\
# Benchmarks

Made by `make docs` from the JSON files in `benchmarks/results/`, which hold every raw timing. `make bench` measures a
machine and writes such a file; `python -m benchmarks compare A.json B.json` says what moved between two of them beyond
their noise.

Other packages are measured where they are installed (`pip install -e '.[peers]'` has those that need no GPU); whoever
cannot run is named with the reason. `python -m benchmarks --list` says what there is, and options choose among it:

    python -m benchmarks --cases 'gpt2*,tiny-2000' --optimizers adamw,lion --peers 'torch*,optimi'
    python -m benchmarks --device cuda --out benchmarks/results

- Contestants take turns, a step each in every round, in an order that turns around, so that a machine that slows down
  slows all of them. A figure is the median; "ours is faster" is the median of the rounds' own ratios.
- Where tensors would stay in the cache from step to step, several sets of them take turns.
- Before anybody is timed, the parity harness compares its parameters with torch's (or with the eager reference, where
  torch has no such optimizer) after each of thirty steps. Whoever has other numbers is called wrong and not timed: that
  may be a defect, or another paper's formula under the same name.
- Bytes are the fewest that the update must move: gradients read, parameters and states read and written (read twice,
  what a norm is taken of). The limit is the best stream that the run measured: a copy on a GPU, several updates in
  place on a CPU.
- "Fused AdamW's" is the rate at which `torch.optim.AdamW(fused=True)` moves its bytes in the same rounds.
"""

CAPTIONS = {
    "speed": "how many times faster than torch.optim: fused, or else foreach, or else the default",
    "limit": "percent of the measured limit",
    "elements": "time of AdamW's step against the size of one tensor",
    "tensors": "time of AdamW's step against the number of tensors of 1,000 elements",
}


README = ROOT / "README.md"
BEGIN, END = "<!-- made by benchmarks/page.py -->\n", "<!-- until here -->\n"
IN_SHORT = (
    ("adamw", "one-20m", "step"),
    ("adamw", "gpt2-124m", "step"),
    ("adamw", "tiny-2000", "step"),
    ("sgd", "one-20m", "step"),
    ("adamw", "one-20m", "clip"),
)


def results() -> Iterator[tuple[str, dict[str, Any]]]:
    """The committed results by machine kind."""
    for path in sorted(RESULTS.glob("*.json")):
        if not path.stem.startswith("thresholds") and not path.stem.endswith(PARTS):
            yield path.stem, ratchet.load(path)


def text() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for kind, result in results():
        machine = result["machine"]
        named = machine.get("gpu", machine["cpu"])
        parts.append(
            f"## {named}\n\n{machine['cores']} cores, {machine['threads']} threads; torch {machine['torch']}, Python "
            f"{machine['python']}; torchopt_notes {machine['torchopt_notes']} at {machine['commit']}; measured "
            f"{result['measured'][:10]}; [every figure](../benchmarks/results/{kind}.json).\n"
        )
        for name, caption in CAPTIONS.items():
            if (IMAGES / kind / f"{name}.svg").exists():
                parts.append(f"![{caption}](images/benchmarks/{kind}/{name}.svg)\n")
        parts.append(report.markdown(result, "###"))
    return "\n".join(parts)


def in_short() -> str:
    """The README's figures: one table for each machine."""
    parts = []
    for _, result in results():
        machine = result["machine"]
        found = {key[:3]: rows for key, rows in report.studies(result)}
        lines = []
        for optimizer, case, operation in IN_SHORT:
            rows = {row["contestant"]: row for row in found.get((case, optimizer, operation), ()) if row["seconds"]}
            if "ours" in rows:
                lines.append([_what(rows["ours"])])
                for name in ("torch fused", "torch default"):
                    lines[-1] += _beside(rows[name]) if name in rows else ["–"] * 3
        table = report.table(("", "ours", "`fused=True`", "speed", "ours", "default", "speed"), lines)
        parts.append(f"{machine.get('gpu', machine['cpu'])}, {machine['threads']} threads:\n\n{table}\n")
    return "\n".join(parts)


def _what(row: dict[str, Any]) -> str:
    name = optimizers()[row["optimizer"]].__name__
    about = next(case.about for case in CASES if case.name == row["case"])
    return f"{name}, {about}" + ("" if row["operation"] == "step" else ", gradients clipped by their norm")


def _beside(row: dict[str, Any]) -> list[str]:
    """Ours, the contestant, and how many times faster ours was, in the same rounds."""
    ours, theirs = (statistics.median(row[name]) * 1e3 for name in ("ours", "seconds"))
    return [f"{ours:.2f} ms", f"{theirs:.2f} ms", f"{row['speed']:.2f}×"]


def readme() -> str:
    """The README with these figures in it."""
    before, rest = README.read_text().split(BEGIN)
    return before + BEGIN + in_short() + END + rest.split(END, 1)[1]


def write() -> None:
    """Writes the plots, then the pages."""
    for kind, result in results():
        folder = IMAGES / kind
        folder.mkdir(parents=True, exist_ok=True)
        plots.draw(result, folder)
    PAGE.write_text(text())
    README.write_text(readme())
