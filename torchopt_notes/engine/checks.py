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


def _number(value: Any) -> float:
    if isinstance(value, Tensor):
        return math.nan if value.is_meta or value.numel() != 1 else value.detach().item()
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


def supported(name: str, group: dict[str, Any], unsupported: Mapping[str, str]) -> None:
    """Nothing is asked for that has no meaning for the rule."""
    for option, reason in unsupported.items():
        if group.get(option):
            raise ValueError(f"{name}: {option}={group[option]!r} has no meaning here: {reason}")
        if option == "complex":
            entries = [entry[1] if isinstance(entry, tuple) else entry for entry in group["params"]]
            if any(isinstance(param, Tensor) and param.is_complex() for param in entries):
                raise ValueError(f"{name} does not support complex parameters: {reason}")


def parameters(name: str, params: Sequence[Any], others: Sequence[Tensor], *, differentiable: bool) -> None:
    """Distinct leaf tensors of a floating-point or complex dtype that no other group holds."""
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
        if not (param.is_floating_point() or param.is_complex()):
            raise ValueError(
                f"{name}: parameters must be floating-point or complex, got {param.dtype} "
                f"(index {i} of its group, shape {tuple(param.shape)})"
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
