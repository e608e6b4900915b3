"""Figures behind choices of the engine on a CPU: from what size compiling pays, below what size tensors share calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch

import torchopt_notes
from benchmarks.cases import MILLION, Case
from benchmarks.measuring.clock import Step, take_turns
from benchmarks.startup import first_step
from torchopt_notes.engine.backends import Backend

LISTS = (
    (10, MILLION // 10),
    (10, MILLION),
    (10, 2 * MILLION),
    (2_000, 2 * MILLION),
    (10, 10 * MILLION),
    (1, 10 * MILLION),
)
STAGED = (2_048, 4_096, 8_192, 16_384)


def measure(rounds: int) -> dict[str, Any]:
    """Both tables."""
    return {"compiling": compiling(rounds), "staging": staging(rounds)}


def compiling(rounds: int) -> list[dict[str, float | None]]:
    """What a step saves by size, and after how many steps a first compilation is paid for."""
    first = first_step(["ours"])["ours"]
    found: list[dict[str, float | None]] = []
    for tensors, elements in LISTS:
        sizes = [elements // tensors] * tensors
        samples = take_turns({name: [_step(sizes, name)] for name in ("eager", "compiled")}, rounds, "cpu")
        eager, compiled = samples["eager"].median, samples["compiled"].median
        found.append(
            {
                "tensors": tensors,
                "elements": elements,
                "eager": eager,
                "compiled": compiled,
                "compilation": first,
                "steps to pay": first / (eager - compiled) if eager > compiled else None,
            }
        )
    return found


def staging(rounds: int) -> list[dict[str, float]]:
    """Seconds per tensor of the compiled backend, by size: side by side in a staging area, and one call each."""
    found = []
    for elements in STAGED:
        tensors = 2 * MILLION // elements
        steps = {}
        for name, below in (("own call", 0), ("staged", elements + 1)):
            with mock.patch("torchopt_notes.engine.compiled.STAGE_BELOW", below):
                step = _step([elements] * tensors, "compiled")
                step()  # decides who is staged
            steps[name] = [step]
        samples = take_turns(steps, rounds, "cpu")
        found.append({"elements": elements, **{name: samples[name].median / tensors for name in steps}})
    return found


def _step(sizes: Sequence[int], backend: Backend) -> Step:
    params = Case("", "", lambda room: []).make([(size,) for size in sizes], "cpu", torch.float32)
    return Step(torchopt_notes.AdamW(params, backend=backend).step)


def show(found: dict[str, Any]) -> None:
    """Prints both."""
    print("When compiling pays (AdamW):")
    for row in found["compiling"]:
        steps = "never" if row["steps to pay"] is None else f"after {row['steps to pay']:,.0f} steps"
        print(
            f"  {row['tensors']:>5,} × {row['elements'] // row['tensors']:>10,}: eager {row['eager'] * 1e3:6.2f} ms, "
            f"compiled {row['compiled'] * 1e3:5.2f} ms; "
            f"a first compilation of {row['compilation']:.1f} s is paid for {steps}"
        )
    print("Small tensors on the compiled backend (AdamW), per tensor:")
    for row in found["staging"]:
        staged, own = row["staged"] * 1e6, row["own call"] * 1e6
        print(f"  {row['elements']:>7,} elements: staged {staged:5.1f} µs, own call {own:5.1f} µs")
