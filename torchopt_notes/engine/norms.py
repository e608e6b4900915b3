"""The norm of all gradients together, by torch's operations: partial sums per tensor, and what is made of them.

Sums are taken in fp64. In fp32, which torch uses, the norm of 20 million numbers is off by 1e-3 of itself on a CPU, and
numbers above 1e19 have a norm of inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

WITHOUT_FP64 = ("mps",)
"""Devices on which the host decides what gradients mean for a step, which waits for them."""

PIECE = 2**18
"""Elements that are widened to fp64 at a time on a CPU: they stay in its cache, and take 2 MB."""


def power_sums(tensors: Sequence[Tensor], order: float) -> Tensor:
    """Partial sums, fp64 [2, any number]: Σ|x|ᵖ of tensors or pieces of them (the largest |x| for p = inf), and 1 where
    one holds an inf or NaN.
    """
    if not tensors:
        return torch.zeros(2, 1, dtype=torch.float64)
    norms = _stack(_norms(tensors, order))
    if order in (1, 2, math.inf) and not any(tensor.dtype in (torch.float64, torch.complex128) for tensor in tensors):
        largest = norms  # which fp64 holds, if each element is finite
    else:
        largest = _stack(_norms(tensors, math.inf))
    sums = norms if order == math.inf else norms**order
    return torch.stack([sums, (~largest.isfinite()).to(torch.float64)])


def _stack(norms: list[Tensor]) -> Tensor:
    """In fp64; on the CPU, if their device has none. A sharded tensor's norm is that of all shards."""
    whole = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    stacked = torch.stack(whole)
    return (stacked.cpu() if stacked.device.type in WITHOUT_FP64 else stacked).double()


def _norms(tensors: Sequence[Tensor], order: float) -> list[Tensor]:
    """0-d norms of the tensors or of pieces of them."""
    if all(tensor.is_cpu and type(tensor) in (Tensor, torch.nn.Parameter) for tensor in tensors):
        return piece_norms([piece for tensor in tensors for piece in pieces(tensor)], order)
    return [total_norm(tensor, order) for tensor in tensors]


def piece_norms(parts: list[Tensor], order: float) -> list[Tensor]:
    """The norm of each, 0-d and fp64, of dense tensors that share device and dtype; a zero for none. In one call, which
    takes less time than one for each.
    """
    if not parts:
        return [torch.zeros((), dtype=torch.float64)]
    with torch.no_grad():
        return list(torch._foreach_norm(parts, order, wide(parts[0])))


def combine(partials: Tensor, order: float) -> Tensor:
    """The norm, 0-d fp64, of everything that ``partials`` were taken of."""
    return partials[0].amax() if order == math.inf else partials[0].sum() ** (1 / order)


def clip_coefficient(norm: Tensor, max_norm: float | Tensor) -> Tensor:
    """What ``torch.nn.utils.clip_grad_norm_`` multiplies gradients with, in the precision of ``norm``."""
    # What torch's division of a float by a tensor does, for limits of both kinds.
    return ((norm + 1e-6).reciprocal() * max_norm).clamp(max=1.0)


def pieces(tensor: Tensor) -> Sequence[Tensor]:
    """The numbers that a tensor holds, in pieces that may be widened."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if (size := tensor.numel()) <= PIECE:
        return [tensor] if size else []
    narrow = tensor.dtype not in (torch.float64, torch.complex128)
    if narrow and tensor.device.type == "cpu" and tensor.is_contiguous():
        return torch.split(tensor.view(-1), PIECE)
    return [tensor]


def wide(tensor: Tensor) -> torch.dtype | None:
    """What sums over the tensor are taken in."""
    if tensor.device.type in WITHOUT_FP64:
        return None
    return torch.complex128 if tensor.is_complex() else torch.float64


def total_norm(tensor: Tensor, order: float) -> Tensor:
    """The norm of one tensor, 0-d, summed in fp64."""
    tensor = tensor.detach()
    norms: list[Tensor] = [torch.linalg.vector_norm(piece, order, dtype=wide(piece)) for piece in pieces(tensor)]
    if len(norms) == 1:
        return norms[0]
    if not norms:
        return torch.zeros((), dtype=torch.float64, device=tensor.device)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), order)
    return norm
