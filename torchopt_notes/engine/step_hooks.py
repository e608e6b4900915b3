"""What torch puts around every ``step``: hooks, a name for profilers, and its compiler."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch._C._autograd import _profiler_enabled
from torch._C._dynamo import eval_frame
from torch.autograd import profiler
from torch.optim import optimizer as torch_optimizer

_frame_callback: Callable[[], Any] | None = getattr(eval_frame, "get_eval_frame_callback", None)

Step = TypeVar("Step", bound=Callable[..., Any])


def hooked_where_noticed(step: Step) -> Step:
    """torch's wrapper around ``step``, entered only where a hook is registered or torch's profiler is on.

    After an update that has flushed the caches, the wrapper's range for profilers costs 0.2 ms, a third of the host's
    time. A subclass's own ``step`` that torch has wrapped is wrapped as a whole, and not once more in here.
    """
    hooked = torch.optim.Optimizer.profile_hook_step(step)

    @functools.wraps(step)
    def wrapper(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        # What torch has wrapped is marked by True; whatever copied our mark, or has none, is wrapped by nobody.
        ours = getattr(type(self).step, "hooked", wrapper) is wrapper
        if ours and (torch.compiler.is_compiling() or _noticed(self)):
            return hooked(self, *args, **kwargs)
        return step(self, *args, **kwargs)

    wrapper.hooked = wrapper  # type: ignore[attr-defined]  # tells torch that there is nothing left to wrap
    return cast(Step, wrapper)


def _noticed(optimizer: Any) -> bool:
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or _profiler_enabled()
        or profiler._is_profiler_enabled  # in any thread
    )


def compiler_looks_at_frames() -> bool:
    """Whether torch.compile would look at what is called from here, also where it does not trace at the moment."""
    return "torch._dynamo" in sys.modules and (_frame_callback is None or _frame_callback() is not None)
