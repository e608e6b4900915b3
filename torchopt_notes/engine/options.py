"""The keyword arguments that optimizers share, so that a new feature of the engine is spelled once."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from .backends import Backend


class EngineOptions(TypedDict, total=False):
    """What every optimizer takes besides its own arguments. ``docs/gradients.md`` says in which order it acts.

    Attributes:
        backend: who runs the rule: ``"auto"`` (default), ``"eager"``, ``"compiled"`` or ``"triton"``; see
            :meth:`~.optimizer.Optimizer.explain`.
        max_grad_norm: clip all gradients of the optimizer by their common norm: multiply them with max_grad_norm /
            (norm + 1e-6) where that is below 1, as :func:`torch.nn.utils.clip_grad_norm_` does. ``inf`` measures the
            norm (:attr:`~.optimizer.Optimizer.grad_norm`) and clips nothing. A float, or a 0-d tensor. Default None.
        grad_norm_type: p ≥ 1 of that p-norm, ``inf`` for the largest element. Default 2.
        skip_nonfinite: a step whose gradients hold an inf or NaN changes nothing: no parameter, state or step count.
            :attr:`~.optimizer.Optimizer.skipped_steps` counts them. Default False.
        max_grad_value: clip each element of the gradient to [-max_grad_value, max_grad_value]. Default None.
        adaptive_clip: clip the gradient of each unit (a row of a matrix, an output of a convolution; all of a tensor
            with fewer than two dimensions) to adaptive_clip times the norm of the unit's weights. 0.01 is the paper's
            (arXiv 2102.06171). Default None.
        adaptive_eps: the least norm that a unit's weights count with there. Default 1e-3, the paper's.
        l1: λ₁ ≥ 0. Added to the gradient as λ₁·sign(w); with ``decoupled_weight_decay`` the weights are moved towards
            zero by lr·λ₁ after the update instead, and stay at exactly zero when they reach it. Default 0.
        decouple_lr: decoupled penalties are multiplied by lr / (the group's first lr) instead of lr: what is taken off
            per step does not depend on the size of lr, only on its schedule. Default False.
        cautious_weight_decay: decay only those weights which the update does not move away from zero (arXiv
            2510.12402); needs ``decoupled_weight_decay``. Default False.
    """

    backend: Backend
    max_grad_norm: float | Tensor | None
    grad_norm_type: float
    skip_nonfinite: bool
    max_grad_value: float | Tensor | None
    adaptive_clip: float | Tensor | None
    adaptive_eps: float | Tensor
    l1: float | Tensor
    decouple_lr: bool
    cautious_weight_decay: bool


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


REFERENCE_LR = "reference_lr"
"""The group key that keeps the first lr for ``decouple_lr``. Not ``initial_lr``: some schedulers set that to the lr at
which they start, however small."""

GROUP_OPTIONS = (
    "max_grad_value",
    "adaptive_clip",
    "adaptive_eps",
    "l1",
    "decouple_lr",
    "cautious_weight_decay",
)
"""The engine's options that each parameter group may have its own value of."""

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
    "max_grad_value": None,
    "adaptive_clip": None,
    "adaptive_eps": 1e-3,
    "l1": 0,
    "decouple_lr": False,
    "cautious_weight_decay": False,
}
"""Group keys that mean this where they are missing. ``torch.optim``'s groups lack some of them, and so do ours while
nothing else is asked for: checkpoints stay interchangeable."""


def option(group: dict[str, Any], name: str) -> Any:
    """The value of an option, whether or not the group spells it out."""
    return group.get(name, USUAL[name])


def unusual(**options: Any) -> dict[str, Any]:
    """The options that ask for something: what a group must spell out."""
    return {
        name: value
        for name, value in options.items()
        if value is not USUAL[name] and (isinstance(value, Tensor) or value != USUAL[name])
    }


def split_options(options: Options) -> tuple[dict[str, Any], EngineOptions]:
    """The group keys that an optimizer of our own gets besides its hyperparameters, and what is left for the engine.

    Keyword arguments that no optimizer takes stay with the latter, where they are refused.
    """
    flags: dict[str, Any] = {name: options.get(name, USUAL[name]) for name in FLAGS}
    engine: Any = {name: value for name, value in options.items() if name not in FLAGS}
    return flags, engine
