"""Draws the plots of `docs/schedules.md` and writes its table: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import matplotlib

from torchopt_notes import schedules

HERE = Path(__file__).parent
PAGE = HERE / "schedules.md"
IMAGES = HERE / "images" / "schedules"
BEGIN, END = "<!-- made by docs/schedules.py -->\n", "<!-- until here -->\n"


class Entry(NamedTuple):
    """One row: what to write, how many steps to draw, and what others call it."""

    expression: str
    steps: int
    notes: str = ""
    torchs: str = ""

    @property
    def image(self) -> Path:
        return IMAGES / (re.sub(r"\W+", "-", self.expression).strip("-") + ".svg")

    @property
    def schedule(self) -> schedules.Schedule:
        return eval(self.expression, {name: getattr(schedules, name) for name in schedules.__all__})


ENTRIES = [
    Entry("constant(0.5)", 100),
    Entry("constant(0.5, steps=50) >> constant()", 100, torchs="ConstantLR(factor=0.5, total_iters=50)"),
    Entry("linear(100)", 100, torchs="LinearLR(start_factor=1, end_factor=0, total_iters=100)"),
    Entry("step_decay(10, gamma=0.9)", 100, "step decay: 10 % less every 10 epochs", "StepLR"),
    Entry("multistep([30, 80])", 100, torchs="MultiStepLR"),
    Entry("exponential(0.97)", 100, "exponential decay", "ExponentialLR"),
    Entry("inverse_time(0.05)", 100),
    Entry("warmup(20) >> inverse_sqrt(20)", 100),
    Entry("polynomial(100, power=2)", 100, torchs="PolynomialLR(total_iters=100, power=2)"),
    Entry("cosine(100, end=0.1)", 100, "cosine annealing", "CosineAnnealingLR(T_max=100, eta_min=0.1 * lr)"),
    Entry("rex(100)", 100),
    Entry("warm_restarts(15, T_mult=2)", 105, "warm restarts", "CosineAnnealingWarmRestarts"),
    Entry("cyclic(10)", 100, "cyclical learning rate", "CyclicLR"),
    Entry('cyclic(10, mode="triangular2")', 100, "cyclical learning rate", 'CyclicLR(mode="triangular2")'),
    Entry('cyclic(10, mode="exp_range", gamma=0.98)', 100, "cyclical learning rate", 'CyclicLR(mode="exp_range")'),
    Entry("one_cycle(101)", 100, torchs="OneCycleLR"),
    Entry("one_cycle(101, three_phase=True)", 100, torchs="OneCycleLR(three_phase=True)"),
    Entry("wsd(100, warmup_steps=10, decay_steps=30)", 100),
    Entry('wsd(100, warmup_steps=10, decay_steps=30, decay="cosine")', 100),
    Entry('wsd(100, warmup_steps=10, decay_steps=30, decay="1-sqrt")', 100),
    Entry("warmup(20) >> cosine(80)", 100, torchs="SequentialLR"),
    Entry('warmup(20, shape="cosine") >> constant()', 100),
    Entry('warmup(20, shape="exponential") >> constant()', 100),
    Entry('constant(steps=60) >> cooldown(40, shape="1-sqrt")', 100),
    Entry("warm_restarts(25) * exponential(0.98)", 100, torchs="ChainedScheduler"),
    Entry("linear(50) * 0.5 + 0.5", 100),
    Entry("exponential(0.95).clip(min=0.2)", 100),
    Entry("linear(20).repeat()", 100),
    Entry("step_decay(1, gamma=0.5).stretch(25)", 100),
    Entry("exponential(0.98).until(60) >> linear(40, start=0.3)", 100),
]


def table() -> str:
    """The page's table."""
    lines = ["| schedule | multiplier | in the notes | in torch |", "| --- | --- | --- | --- |"]
    for entry in ENTRIES:
        torchs = f"`{entry.torchs}`" if entry.torchs else ""
        path = entry.image.relative_to(HERE).as_posix()
        lines.append(f"| `{entry.expression}` | ![{entry.expression}]({path}) | {entry.notes} | {torchs} |")
    return "\n".join(lines) + "\n"


def draw(entry: Entry, path: Path) -> None:
    """One plot, the same bytes with the same matplotlib."""
    with matplotlib.rc_context({"svg.hashsalt": "schedules", "svg.fonttype": "none", "font.size": 7}):
        figure = entry.schedule.plot(entry.steps)
        figure.set_size_inches(2.6, 1.3)
        axes = figure.axes[0]
        axes.set(title="", xlabel="", ylabel="", ylim=(-0.05, 1.08))
        figure.savefig(path, metadata={"Date": None})


def page(text: str) -> str:
    """The page with a fresh table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob("*.svg"):
        old.unlink()
    for entry in ENTRIES:
        draw(entry, entry.image)
    PAGE.write_text(page(PAGE.read_text()))
