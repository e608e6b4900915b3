"""Whether an update of ten times the elements takes ten times as long."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.cases import Case, synthetic
from benchmarks.contestants import HYPERPARAMETERS, OURS
from benchmarks.measuring.clock import Step, ratio, take_turns


def linearity(device: str, dtype: torch.dtype, rounds: int, small: int, times: int) -> dict[str, Any]:
    """AdamW on one tensor and on one that is so many times larger, in turns."""
    steps = {}
    for name, elements in (("small", small), ("large", small * times)):
        shapes = synthetic.one(elements)
        params = Case(name, "", lambda room: []).make(shapes, device, dtype)
        optimizer = OURS.maker("adamw", HYPERPARAMETERS["adamw"], device)(params)
        steps[name] = [Step(optimizer.step)]
    samples = take_turns(steps, rounds, device)
    return {
        "elements": [small, small * times],
        "ratio": ratio(samples, "small", "large") / times,
        "raw": {name: found.device for name, found in samples.items()},
    }
