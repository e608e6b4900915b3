"""What the machine's memory does at best, measured in the same run: no update can be faster than its bytes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .clock import Step, take_turns


def bandwidth(device: str, elements: int, rounds: int = 15) -> dict[str, float]:
    """Bytes per second of simple streams over fp32 tensors of so many elements, by name.

    On a GPU it is the copy; on a CPU several streams in place, since a plain store there may read the line it writes
    first, which an update in place does anyway.
    """
    a = torch.randn(elements, device=device)
    b = torch.randn(elements, device=device)
    c = torch.randn(elements, device=device)
    size = a.nbytes
    streams: dict[str, tuple[Callable[[], object], int]] = {"copy": (lambda: b.copy_(a), 2 * size)}
    if device != "cuda":
        streams |= {
            "scale in place": (lambda: a.mul_(1.0), 2 * size),
            "add in place": (lambda: a.add_(b, alpha=1e-9), 3 * size),
            "multiply-add in place": (lambda: a.addcmul_(b, c, value=1e-9), 4 * size),
        }
    samples = take_turns({name: [Step(run)] for name, (run, _) in streams.items()}, rounds, device)
    return {name: moved / samples[name].median for name, (_, moved) in streams.items()}
