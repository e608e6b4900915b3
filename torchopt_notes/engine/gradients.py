"""What all gradients of a step decide together: their norm, the number they are multiplied with, and whether the step
happens at all.

One pass over the gradients at most, and none if nobody asks. What comes of it stays on the device, unless all
parameters are on the CPU, where the host may look at it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import checks
from .buckets import Work
from .decision import KernelDecision, Question
from .decision import decide as with_torch
from .device_array import capturing
from .norms import WITHOUT_FP64
from .options import EngineOptions
from .state import StatefulOptimizer
from .transform import UNCHANGED, Signal

FP64 = (torch.float64, torch.complex128)


class GradientControl(StatefulOptimizer):
    """The options that concern all gradients of an optimizer, and what was found.

    Attributes:
        decided_on_host: whether the host decides which steps are skipped; if not, only the device knows.
    """

    # torch.amp.GradScaler then leaves unscaling and skipping to the optimizer: it sets grad_scale and found_inf.
    _step_supports_amp_scaling = True

    decided_on_host: bool
    _max_grad_norm: float | Tensor | None
    _grad_norm_type: float
    _skip_nonfinite: bool
    _answer: Tensor | None
    _captured: set[Any]
    _in_kernel: KernelDecision | None
    _skipped: Tensor | None

    def _take_control(self, options: EngineOptions) -> None:
        """Takes the options over."""
        self.max_grad_norm = options.get("max_grad_norm")
        self.grad_norm_type = options.get("grad_norm_type", 2.0)
        self.skip_nonfinite = options.get("skip_nonfinite", False)

    def transient(self) -> dict[str, Any]:
        """The attributes that copies and pickles begin without."""
        return {
            "decided_on_host": False,
            "_answer": None,
            "_in_kernel": None,
            "_skipped": None,
            "_precision": torch.float32,
            "_captured": set(),
        }

    @property
    def max_grad_norm(self) -> float | Tensor | None:
        """The norm that all gradients together are clipped to, or None. May be changed between steps."""
        return self._max_grad_norm

    @max_grad_norm.setter
    def max_grad_norm(self, value: float | Tensor | None) -> None:
        if value is not None:
            checks.limit(type(self).__name__, "max_grad_norm", value)
        self._max_grad_norm = value

    @property
    def grad_norm_type(self) -> float:
        """The p of that p-norm."""
        return self._grad_norm_type

    @grad_norm_type.setter
    def grad_norm_type(self, value: float) -> None:
        checks.norm_type(type(self).__name__, value)
        self._grad_norm_type = float(value)

    @property
    def skip_nonfinite(self) -> bool:
        """Whether a step whose gradients hold an inf or NaN changes nothing. May be changed between steps."""
        return self._skip_nonfinite

    @skip_nonfinite.setter
    def skip_nonfinite(self, value: bool) -> None:
        self._skip_nonfinite = bool(value)

    @property
    def grad_norm(self) -> Tensor | None:
        """The norm of the last step's gradients, unscaled and before clipping; 0-d, on the first parameter's device.

        None unless ``max_grad_norm`` or ``skip_nonfinite`` asks for it, and before the first step. Reading it does not
        wait for the device; ``float`` of it does.
        """
        return None if self._answer is None else self._answer[0].to(self._precision, copy=True)

    @property
    def skipped_steps(self) -> Tensor:
        """How many steps changed nothing, because of ``skip_nonfinite`` or AMP; 0-d int64, on the device."""
        return torch.zeros((), dtype=torch.int64) if self._skipped is None else self._skipped.clone()

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients are multiplied with a number that they share."""
        return self._max_grad_norm is not None or getattr(self, "grad_scale", None) is not None

    @property
    def may_skip(self) -> bool:
        """Whether a step may turn out to be one that changes nothing."""
        return self._skip_nonfinite or getattr(self, "found_inf", None) is not None

    def _decide(self, work: Work) -> dict[torch.device, Signal] | None:
        """Each device's signal, or None when the host knows that nothing is to be changed."""
        devices = list(dict.fromkeys(runner.bucket.kind.device for runner, _, _ in work))
        measured = self._max_grad_norm is not None or self._skip_nonfinite
        if not (work and (self.scales_gradients or self.may_skip)):
            # The norm of nothing is zero.
            self._answer = self.skipped_steps.new_zeros(3, dtype=torch.float64) if measured else None
            return dict.fromkeys(devices, UNCHANGED)
        wide = any(runner.bucket.kind.dtype in FP64 for runner, _, _ in work)
        self._precision = torch.float64 if wide else torch.float32
        main = torch.device("cpu") if devices[0].type in WITHOUT_FP64 else devices[0]
        if self._skipped is None or self._skipped.device != main:
            self._skipped = self.skipped_steps.to(main)
        found = [runner.measure(grads, states, self._grad_norm_type) for runner, grads, states in work if measured]
        decide = with_torch
        if len(devices) == 1 and all(runner.bucket.kind.backend == "triton" for runner, _, _ in work):
            if self._in_kernel is None or self._in_kernel.device != devices[0]:
                self._in_kernel = KernelDecision(devices[0])
            decide = self._in_kernel.decide
        if capturing():
            # The graph writes there at every replay, also when something has taken their place here.
            self._captured.update((self._in_kernel, self._skipped))
        answer = decide(self._question(), found, self._skipped)
        self._answer = answer if measured else None
        if self.decided_on_host:
            _, scale, skip = answer.tolist()
            return None if skip else dict.fromkeys(devices, Signal(scale, 0.0, answer))
        copies = {device: answer.to(device, non_blocking=device.type != "cpu") for device in devices}
        return {device: Signal(copy[1], copy[2], copy) for device, copy in copies.items()}

    def _question(self) -> Question:
        return Question(
            self._grad_norm_type,
            self._max_grad_norm,
            self._skip_nonfinite,
            getattr(self, "grad_scale", None),
            getattr(self, "found_inf", None),
            self._precision,
        )
