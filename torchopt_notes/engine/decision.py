"""From all gradients' sums to the step's numbers: by torch's operations, or in one small kernel."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .device_array import DeviceArray, capturing
from .norms import clip_coefficient, combine


class Question(NamedTuple):
    """What is asked about all gradients of a step.

    Attributes:
        order: the p of their p-norm.
        max_norm: what that is clipped to, or None.
        check: whether an inf or NaN among them is a reason to skip the step.
        grad_scale: what the loss was multiplied with, or None.
        found_inf: nonzero if somebody else found an inf or NaN; or None.
        precision: the norm and the number that gradients are multiplied with are rounded to it, as torch has them.
    """

    order: float
    max_norm: float | Tensor | None
    check: bool
    grad_scale: Tensor | None
    found_inf: Tensor | None
    precision: torch.dtype


def decide(question: Question, found: Sequence[Tensor], skipped: Tensor) -> Tensor:
    """The answer, fp64 [3], on the device of ``skipped``: norm, number, and whether the step changes nothing.

    Args:
        found: partial sums of all gradients, wherever they are; none if nobody asked for them.
        skipped: a count, advanced if the step changes nothing.
    """
    device = skipped.device
    waits = device.type == "cpu"  # who reads there must not be early
    norm = torch.zeros((), dtype=torch.float64, device=device)
    skip = torch.zeros((), dtype=torch.bool, device=device)
    if found:
        partials = torch.cat([part.to(device, non_blocking=not waits) for part in found], dim=1)
        norm = combine(partials, question.order)
        if question.check:
            skip = partials[1].any()
    inverse = torch.ones_like(norm)
    if question.grad_scale is not None:
        inverse = question.grad_scale.to(device, torch.float64, non_blocking=not waits).squeeze().reciprocal()
    norm = (norm * inverse).to(question.precision)
    scale, limit = torch.ones_like(norm), question.max_norm
    # A limit of inf clips nothing, not even a norm of inf or NaN.
    if isinstance(limit, Tensor):
        limit = limit.detach().squeeze().to(device, question.precision, non_blocking=not waits)
        scale = torch.where(limit == math.inf, 1.0, clip_coefficient(norm, limit))
    elif limit is not None and limit != math.inf:
        scale = clip_coefficient(norm, limit)
    if question.found_inf is not None:
        skip = skip | (question.found_inf.to(device, non_blocking=not waits).squeeze() > 0)
    skipped += skip
    return torch.stack([norm.double(), scale.double() * inverse, skip.double()])


class KernelDecision:
    """The same in one launch, for a device whose gradients were all measured by kernels."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._signal = torch.zeros(3, dtype=torch.float64, device=device)
        self._limit = DeviceArray(device, torch.float64)
        self._limit_written: float | None = None

    def decide(self, question: Question, found: Sequence[Tensor], skipped: Tensor) -> Tensor:
        """As :func:`decide`; the answer is overwritten by the next one."""
        from .norm_launches import launch_decision

        partials = torch.cat(list(found), dim=1) if len(found) > 1 else (found[0] if found else None)
        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            launch_decision(question, partials, self._limit_on_device(question.max_norm), self._signal, skipped)
        return self._signal

    def _limit_on_device(self, limit: float | Tensor | None) -> Tensor | None:
        """Copied when it has changed, or when it lives on the device and may have."""
        if limit is None:
            return None
        if isinstance(limit, Tensor):
            return limit.detach().reshape(1).to(self.device, torch.float64, non_blocking=True)
        table = self._limit.tensor
        if limit != self._limit_written or capturing():
            table = self._limit.write(np.array([limit]))
            self._limit_written = self._limit_written if capturing() else limit
        return table
