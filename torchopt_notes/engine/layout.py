"""How a tensor lies in memory: which tensors can be walked as one flat run of numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one gapless run of memory, each once, in any order of the dimensions."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def units_in_order(tensor: Tensor) -> bool:
    """Whether a dense tensor's first dimension is the outermost in memory."""
    return tensor.dim() < 2 or tensor.shape[0] < 2 or tensor.stride(0) * tensor.shape[0] == tensor.numel()


def span(tensor: Tensor) -> tuple[str, int, int]:
    """The device, and the addresses between which the elements lie."""
    start = tensor.data_ptr()
    if tensor.numel() == 0:
        return str(tensor.device), start, start
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return str(tensor.device), start, start + (last + 1) * tensor.element_size()


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether several elements may lie in the same place; gaps are no overlap."""
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < extent:
                return tensor.numel() > 0
            extent = stride * (size - 1) + extent
    return False


def same_layout(tensor: Tensor, like: Tensor) -> bool:
    """Whether both tensors put the same element at the same place, counted from their first.

    Not so for a tensor that is conjugated or negated lazily: its memory holds other numbers than its elements.
    """
    if tensor.is_conj() or tensor.is_neg():
        return False
    return tensor.stride() == like.stride() or (tensor.is_contiguous() and like.is_contiguous())


def state_shape(shape: torch.Size, layout: str | None) -> torch.Size:
    """The shape of a state of this layout, for a parameter of this shape."""
    if layout == "scalar":
        return torch.Size()
    if layout == "row":
        return torch.Size((*shape[:-1], 1))
    return torch.Size((*shape[:-2], 1, shape[-1])) if layout == "column" else shape


def as_matrices(tensor: Tensor) -> Tensor:
    """The last two dimensions as a matrix; several of them stacked along a third dimension."""
    if tensor.dim() == 2:
        return tensor
    stacked = tensor.flatten(0, -3)
    return stacked[0] if len(stacked) == 1 else stacked


def dense_copy(tensor: Tensor) -> Tensor:
    """A contiguous copy outside of autograd."""
    return tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


def real(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of reals, sharing memory; any other tensor as it is."""
    if not tensor.is_complex():
        return tensor
    return torch.view_as_real(tensor.resolve_conj())


def real_numel(tensor: Tensor) -> int:
    """How many reals the tensor holds: two for each complex number."""
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor as a vector in the order of its memory, sharing that memory but nothing of autograd's.

    torch.compile would guard on the shape of a view's base; ``.data`` is no view. It does not share the version counter
    either, so whoever writes through it must call ``torch.autograd.graph.increment_version`` on the tensor itself.
    """
    tensor = real(tensor.detach())
    if tensor.is_contiguous():
        return tensor.view(-1).data
    return tensor.as_strided((tensor.numel(),), (1,)).data


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision that a rule computes in: fp64 for fp64 parameters, fp32 for all others."""
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
