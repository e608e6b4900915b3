"""Memory that a step holds for a while."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._C._autograd import DeviceType


def peak_extra(step: Callable[[], object], device: str) -> int:
    """The most bytes of tensors that a call holds at once beyond what there was before."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    held = most = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def launches(step: Callable[[], object], device: str) -> int | None:
    """Kernels that a call starts on a GPU, memory copies left out.

    None on the CPU, which has none, and where the driver does not let anybody count them.
    """
    if device != "cuda":
        return None
    # Of the GPU alone: the optimizer's own label would count as a kernel otherwise.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    kernels = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
    found = [event for event in kernels if not getattr(event, "is_user_annotation", False)]
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in found) or None
