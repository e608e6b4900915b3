"""The keyword arguments that optimizers share, so that a new feature of the engine is spelled once."""

from __future__ import annotations

from typing import Any, TypedDict

from .backends import Backend


class EngineOptions(TypedDict, total=False):
    """What every optimizer takes besides its own arguments.

    Attributes:
        backend: who runs the rule: ``"auto"`` (default), ``"eager"``, ``"compiled"`` or ``"triton"``; see
            :meth:`~.optimizer.Optimizer.explain`.
    """

    backend: Backend


class Options(EngineOptions, total=False):
    """What the optimizers take that ``torch.optim`` does not have; there they are spelled out, in torch's order.

    Attributes:
        maximize: ascend instead of descend. Default False.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        capturable: keep step counts on the device and work out everything that follows from them there, so that the
            step can be captured in a CUDA graph. Default False.
        differentiable: let autograd record the step (eager backend only). Default False.
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` (default) and ``False`` demand nothing.
    """

    maximize: bool
    foreach: bool | None
    capturable: bool
    differentiable: bool
    fused: bool | None


FLAGS = ("maximize", "foreach", "capturable", "differentiable", "fused")

USUAL: dict[str, Any] = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": False,
    "weight_decay": 0,
    "bias_correction": True,
    "eps_inside_sqrt": False,
}
"""Group keys that mean this where they are missing. ``torch.optim``'s groups lack some of them, and so do ours while
nothing else is asked for: checkpoints stay interchangeable."""


def option(group: dict[str, Any], name: str) -> Any:
    """The value of an option, whether or not the group spells it out."""
    return group.get(name, USUAL[name])


def unusual(**options: Any) -> dict[str, Any]:
    """The options that ask for something: what a group must spell out."""
    return {name: value for name, value in options.items() if value is not USUAL[name] and value != USUAL[name]}


def split_options(options: Options) -> tuple[dict[str, Any], EngineOptions]:
    """The group keys that an optimizer of our own gets besides its hyperparameters, and what is left for the engine.

    Keyword arguments that no optimizer takes stay with the latter, where they are refused.
    """
    flags: dict[str, Any] = {name: options.get(name, USUAL[name]) for name in FLAGS}
    engine: Any = {name: value for name, value in options.items() if name not in FLAGS}
    return flags, engine
