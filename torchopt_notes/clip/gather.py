"""Which tensors a call is about, and which of them kernels can take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils._foreach_utils import _device_has_foreach_support

from ..engine.backends import unavailable, unsuited
from ..engine.device_array import capturing
from ..engine.layout import is_dense, overlaps_itself

Tensors: TypeAlias = Tensor | Iterable[Tensor]
"""A tensor, or any number of them; an iterator is consumed once."""


class Group(NamedTuple):
    """Tensors of one device and dtype.

    Attributes:
        fused: those that kernels take.
        rest: those that torch's operations take.
        foreach: whether torch takes them by lists.
    """

    device: torch.device
    dtype: torch.dtype
    fused: list[Tensor]
    rest: list[Tensor]
    foreach: bool


def as_list(tensors: Tensors) -> list[Tensor]:
    """All of them."""
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Those that there are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def foreign(tensors: Sequence[Tensor]) -> bool:
    """Whether there are subclasses among the tensors, such as DTensor, whose mathematics is their own."""
    return any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)


def group(
    tensors: Sequence[Tensor], foreach: bool | None, suits: Callable[[Tensor], bool] = lambda tensor: True
) -> list[Group]:
    """Sorts the tensors by device and dtype.

    Args:
        foreach: as the user passed it. False keeps everything away from kernels.
        suits: whether kernels may take a tensor that they can walk.

    Raises:
        RuntimeError: when torch has no list operations for a device, and they were asked for.
    """
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    groups = []
    for (device, dtype), members in found.items():
        by_lists = foreach is not False and _device_has_foreach_support(device)
        if foreach and not by_lists:
            raise RuntimeError(
                f"foreach=True was passed, but can't use the foreach API on {device.type} tensors; leave it unset"
            )
        fused: list[Tensor] = []
        if foreach is not False and kernels_run_on(device):
            fused = [tensor for tensor in members if walkable(tensor) and suits(tensor)]
        if share_memory(fused):
            fused = []
        taken = set(map(id, fused))
        rest = [tensor for tensor in members if id(tensor) not in taken]
        # torch's list operations refuse to write to such tensors.
        by_lists = by_lists and not any(map(lazy, rest))
        groups.append(Group(device, dtype, fused, rest, by_lists))
    return groups


def kernels_run_on(device: torch.device) -> bool:
    """Whether kernels are to be launched for this device.

    Not while a CUDA graph is captured: it would keep addresses that only this call knows of. torch's operations leave
    theirs in the graph's own memory. Nor in code that torch.compile traces.
    """
    return not torch.compiler.is_compiling() and not capturing() and unavailable("triton", device) is None


def walkable(tensor: Tensor) -> bool:
    """Whether the memory holds the elements, without gaps, as kernels know them."""
    return unsuited(tensor, tensor) is None and is_dense(tensor) and not lazy(tensor)


def lazy(tensor: Tensor) -> bool:
    """Whether the tensor is conjugated or negated when it is read; torch.compile has no such tensors."""
    return not torch.compiler.is_compiling() and (tensor.is_conj() or tensor.is_neg())


def share_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether a tensor is listed twice, or lies across another one. Torch's operations take them in turn."""
    spans = [(tensor.data_ptr(), tensor.numel() * tensor.element_size()) for tensor in tensors if tensor.numel()]
    if len(spans) < 2:
        return False
    first, size = np.array(sorted(spans), dtype=np.int64).T
    return bool((first[:-1] + size[:-1] > first[1:]).any())


def writable(name: str, tensors: Sequence[Tensor]) -> None:
    """Refuses gradients that cannot be changed in place, before any is.

    Raises:
        RuntimeError: for a tensor with several elements in one place.
    """
    for tensor in tensors:
        if tensor.layout is torch.strided and not tensor.is_contiguous() and overlaps_itself(tensor):
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to a single memory "
                f"location: {name} got a gradient of shape {tuple(tensor.shape)} and strides {tensor.stride()} "
                "(expanded?); clone() it"
            )


def bound(name: str, argument: str, value: float) -> float:
    """A number >= 0, or inf.

    Raises:
        ValueError: for any other number.
    """
    number = float(value)
    if not number >= 0:
        raise ValueError(f"{name}: Invalid {argument} value: {value}; {argument} must be a number >= 0, or inf")
    return number
