"""Argument checks: each raises before anything changes, and says what was given and what is allowed.

The wording begins with torch's own, so that code which matches torch's messages goes on working.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .layout import overlaps_itself
from .options import REFERENCE_LR, option


def _number(value: Any) -> float:
    if isinstance(value, Tensor):
        return math.nan if value.is_meta or value.numel() != 1 or value.is_complex() else value.detach().item()
    return float(value) if isinstance(value, Real) else math.nan


def learning_rate(name: str, lr: Any, *, foreach: bool = False, torch_text: str = "Invalid learning rate") -> None:
    """A finite lr ≥ 0; a tensor must hold one element, and torch refuses one together with ``foreach``."""
    if isinstance(lr, Tensor):
        if foreach:
            raise ValueError(
                f"{name}: lr as a Tensor is not supported for capturable=False and foreach=True; "
                "pass capturable=True or leave foreach unset"
            )
        if lr.numel() != 1:
            raise ValueError(f"{name}: Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
    non_negative(name, "lr", lr, torch_text)


def non_negative(name: str, argument: str, value: Any, torch_text: str) -> None:
    """A finite number ≥ 0."""
    number = _number(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name}: {torch_text}: {value}; {argument} must be a finite number >= 0")


def positive(name: str, argument: str, value: Any, torch_text: str) -> None:
    """A finite number > 0."""
    number = _number(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name}: {torch_text}: {value}; {argument} must be a finite number > 0")


def in_range(
    name: str, argument: str, value: Any, *, least: float = -math.inf, most: float = math.inf, torch_text: str
) -> None:
    """A finite number between two bounds, which are allowed too."""
    number = _number(value)
    if not (math.isfinite(number) and least <= number <= most):
        allowed = f">= {least:g}" if most == math.inf else f"<= {most:g}"
        raise ValueError(f"{name}: {torch_text}: {value}; {argument} must be a finite number {allowed}")


def limit(name: str, argument: str, value: Any) -> None:
    """A number > 0, or inf; a tensor of one element on a GPU is not read."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"{name}: Tensor {argument} must be 1-element, got shape {tuple(value.shape)}")
        if value.device.type not in ("cpu", "meta"):
            return
    if isinstance(value, bool) or not _number(value) > 0:
        raise ValueError(
            f"{name}: Invalid {argument} value: {value}; {argument} must be a number > 0, inf, or None for no limit"
        )


def norm_type(name: str, value: Any) -> None:
    """The p of a p-norm; torch takes the word "inf" too."""
    if value != "inf" and (isinstance(value, bool) or not _number(value) >= 1):
        raise ValueError(f"{name}: Invalid grad_norm_type: {value}; grad_norm_type must be a number >= 1, or inf")


def finite(name: str, argument: str, value: Any) -> None:
    """A finite number."""
    if not math.isfinite(_number(value)):
        raise ValueError(f"{name}: Invalid {argument} value: {value}; {argument} must be a finite number")


def unit_interval(name: str, argument: str, value: Any, torch_text: str) -> None:
    """A number in [0, 1)."""
    if not 0 <= _number(value) < 1:
        raise ValueError(f"{name}: {torch_text}: {value}; {argument} must be in [0, 1)")


def betas(name: str, values: Any, *, foreach: bool = False, count: int = 2) -> None:
    """So many decay rates in [0, 1): all numbers, or all 1-element tensors."""
    if not (isinstance(values, Sequence) and len(values) == count):
        so_many = "a pair of" if count == 2 else count
        raise ValueError(f"{name}: betas must be {so_many} numbers in [0, 1), got {values!r}")
    for i, beta in enumerate(values):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"{name}: Tensor betas[{i}] must be 1-element, got shape {tuple(beta.shape)}")
        unit_interval(name, f"betas[{i}]", beta, f"Invalid beta parameter at index {i}")
    if len({isinstance(beta, Tensor) for beta in values}) > 1:
        every = "both" if count == 2 else "all"
        raise ValueError(f"{name}: betas must be either {every} floats or {every} Tensors, got {values!r}")
    if isinstance(values[0], Tensor) and foreach:
        raise ValueError(
            f"{name}: betas[0] as a Tensor is not supported for capturable=False and foreach=True; "
            "pass capturable=True or leave foreach unset"
        )


def one_of(name: str, argument: str, value: Any, allowed: Sequence[str]) -> None:
    """One of the strings in ``allowed``."""
    if value not in allowed:
        raise ValueError(
            f"{name}: Invalid {argument}: {value!r}; {argument} must be one of {', '.join(map(repr, allowed))}"
        )


def exclusive_flags(name: str, group: dict[str, Any]) -> None:
    """``fused`` excludes ``differentiable`` and ``foreach``, as in torch."""
    if group.get("fused") and group.get("differentiable"):
        raise RuntimeError(f"{name}: `fused` does not support `differentiable`; set one of them to False")
    if group.get("fused") and group.get("foreach"):
        raise RuntimeError(f"{name}: `fused` and `foreach` cannot be `True` together; set one of them to False")


def transform_options(name: str, group: dict[str, Any], *, decoupled: bool) -> None:
    """The engine's options of a parameter group, and that they make sense together.

    Args:
        decoupled: whether the group's weight decay is.
    """
    for argument in ("max_grad_value", "adaptive_clip"):
        if (value := option(group, argument)) is not None:
            limit(name, argument, value)
    positive(name, "adaptive_eps", option(group, "adaptive_eps"), "Invalid adaptive_eps value")
    non_negative(name, "l1", option(group, "l1"), "Invalid l1 value")
    for argument in ("cautious_weight_decay", "decouple_lr"):
        if option(group, argument) and not decoupled:
            raise ValueError(
                f"{name}: {argument}=True is about decoupled decay; pass decoupled_weight_decay=True, or neither"
            )
    if option(group, "decouple_lr") and REFERENCE_LR not in group and _number(group["lr"]) == 0:
        raise ValueError(
            f"{name}: decouple_lr=True divides by the group's first lr, which is 0; construct the optimizer with the "
            "lr that schedules are relative to"
        )
    for argument in ("max_grad_norm", "grad_norm_type", "skip_nonfinite", "backend"):
        if argument in group:
            raise ValueError(
                f"{name}: {argument!r} concerns the whole optimizer; pass it to the constructor, not in a group"
            )


def supported(name: str, group: dict[str, Any], unsupported: Mapping[str, str]) -> None:
    """Nothing is asked for that has no meaning for the rule."""
    for argument, reason in unsupported.items():
        if group.get(argument):
            raise ValueError(f"{name}: {argument}={group[argument]!r} has no meaning here: {reason}")
        if argument == "complex":
            entries = [entry[1] if isinstance(entry, tuple) else entry for entry in group["params"]]
            if any(isinstance(param, Tensor) and param.is_complex() for param in entries):
                raise ValueError(f"{name} does not support complex parameters: {reason}")


def orderless(name: str, group: dict[str, Any], params: Sequence[Any]) -> None:
    """Nothing that compares numbers is asked for with complex parameters."""
    for argument in ("max_grad_value", "l1", "cautious_weight_decay"):
        if option(group, argument) and any(isinstance(param, Tensor) and param.is_complex() for param in params):
            raise ValueError(
                f"{name}: {argument} compares numbers, which complex ones do not allow; use max_grad_norm, "
                "adaptive_clip or weight_decay, or a parameter group of their own for complex parameters"
            )


def parameters(name: str, params: Sequence[Any], others: Sequence[Tensor], *, differentiable: bool) -> None:
    """Distinct leaf tensors that no other group holds.

    Integers are among them as what they are in quantized models: frozen. :func:`updatable` refuses to change them.
    """
    held = {id(p) for p in others}
    seen: set[int] = set()
    for i, param in enumerate(params):
        if not isinstance(param, Tensor):
            raise TypeError(
                f"{name}: optimizer can only optimize Tensors, but one of the params is {torch.typename(param)} "
                f"(index {i} of its group)"
            )
        if not (differentiable or param.is_leaf or param.retains_grad):
            raise ValueError(
                f"{name}: can't optimize a non-leaf Tensor (index {i} of its group, shape {tuple(param.shape)}); "
                "pass the tensor it was computed from"
            )
        if id(param) in seen:
            raise ValueError(f"{name}: a parameter group holds the same parameter twice (index {i}); list it once")
        if id(param) in held:
            raise ValueError(
                f"{name}: some parameters appear in more than one parameter group (index {i} of the new one)"
            )
        seen.add(id(param))


def updatable(name: str, param: Tensor, grad: Tensor | None, *, fused: bool) -> None:
    """A parameter that can be updated in place, and a gradient that belongs to it.

    Raises:
        RuntimeError: when it cannot.
    """
    if param.is_meta:
        torch_text = "`fused=True` requires all the params to be floating point Tensors of supported devices; "
        raise RuntimeError(
            f"{name}: {torch_text if fused else ''}parameters on the meta device hold no data; "
            "move the model to a real device (to_empty) and initialise it first"
        )
    if not (param.is_floating_point() or param.is_complex()):
        raise RuntimeError(
            f"{name}: a parameter of shape {tuple(param.shape)} has a gradient and is of dtype {param.dtype}; only "
            "floating-point and complex parameters can be updated; leave the .grad of others None"
        )
    if param.layout is torch.strided and overlaps_itself(param):
        raise RuntimeError(
            f"{name}: a parameter of shape {tuple(param.shape)} and strides {param.stride()} has several elements "
            "in the same memory (expanded?) and cannot be updated in place; optimize the tensor behind it"
        )
    if grad is not None and grad.shape != param.shape:
        raise RuntimeError(
            f"{name}: a parameter of shape {tuple(param.shape)} has a gradient of shape {tuple(grad.shape)}; "
            "compute it anew after changing the parameter"
        )


def capture(name: str, groups: Sequence[dict[str, Any]], *, counts: bool) -> None:
    """Refuses a capture in a CUDA graph while what changes from step to step lives on the host.

    Args:
        counts: whether the optimizer counts steps.
    """
    for group in groups:
        if group.get("capturable"):
            continue
        if counts:
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {name} "
                "but param_groups' capturable is False; construct it with capturable=True"
            )
        if not (isinstance(group["lr"], Tensor) and group["lr"].is_cuda):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {name} "
                "whose lr is a number, which the graph would keep for ever; pass lr as a tensor on the GPU "
                "(capturable learning rate)"
            )
