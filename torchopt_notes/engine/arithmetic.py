"""In-place operations whose scalar may be a float or a 0-d tensor, so that a rule is written once.

With a float these are torch's own single operations, which is what makes the eager backend bit-for-bit torch.optim:
the CPU kernels contract ``x + alpha * y`` into a fused multiply-add, which two separate operations would not. torch's
``alpha`` and ``value`` cannot be tensors without reading them on the host, so a tensor takes the spelled-out form; the
compiler fuses that again.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from .rule import Scalar

T = TypeVar("T", Tensor, Scalar)

_ROWS = 32
"""Of a block whose columns are added together."""


def add_(x: Tensor, y: Tensor, alpha: Scalar) -> Tensor:
    """``x += alpha * y``"""
    if not isinstance(alpha, Tensor):
        return x.add_(y, alpha=alpha)
    # The operation that torch.optim uses where autograd follows the learning rate.
    return x.addcmul_(y, alpha) if alpha.requires_grad else x.add_(y * alpha)


def addcmul_(x: Tensor, y: Tensor, z: Tensor, value: Scalar) -> Tensor:
    """``x += value * y * z``"""
    return x.add_(y * z * value) if isinstance(value, Tensor) else x.addcmul_(y, z, value=value)


def addcdiv_(x: Tensor, y: Tensor, z: Tensor, value: Scalar) -> Tensor:
    """``x += value * y / z``"""
    return x.add_(y * value / z) if isinstance(value, Tensor) else x.addcdiv_(y, z, value=value)


def lerp_(x: Tensor, y: Tensor, weight: Scalar) -> Tensor:
    """``x += weight * (y - x)``: an exponential moving average with ``weight`` = 1 - β."""
    return x.add_((y - x) * weight) if isinstance(weight, Tensor) else x.lerp_(y, weight)


def add_number(x: Tensor, number: Scalar) -> Tensor:
    """``x + number`` in the memory of ``x``, a temporary, unless autograd may need it."""
    return x + number if x.requires_grad else x.add_(number)


def number(value: Scalar) -> Scalar:
    """A number that is carried on, rounded to its own precision, for double-precision arithmetic."""
    return value if isinstance(value, Tensor) else float(value)


def norm(x: Tensor) -> Tensor:
    """The Euclidean norm, 0-d, summed in fp64: in fp32, a norm of 20 million numbers is off by 1e-3 of itself."""
    if torch.compiler.is_compiling():
        return x.double().square().sum().sqrt().to(x.dtype)
    result: Tensor = torch.linalg.vector_norm(as_it_is(x), dtype=torch.float64)
    return result.to(x.dtype)


def scaled(param: Tensor, number: Scalar) -> Tensor:
    """``param * number``, for a parameter that changes in place afterwards."""
    return as_it_is(param) * number


def mean(x: Tensor) -> Tensor:
    """The mean, 0-d; compiled code adds in fp64, as for :func:`norm`."""
    return x.double().mean().to(x.dtype) if torch.compiler.is_compiling() else x.mean()


def along(x: Tensor, y: Tensor) -> Tensor:
    """``x``, which compiled code looks at where it has ``y`` at hand: tensors without anything in common never share a
    loop.
    """
    return torch.where(y == y, x, x) if torch.compiler.is_compiling() else x


def norms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The :func:`norm` of each. Compiled code takes both in one loop: two tensors are read faster than one is twice."""
    return norm(x), norm(along(y, x))


def mean_squares(x: Tensor) -> tuple[Tensor, Tensor]:
    """The means of x² along the last dimension and along the last but one, which stay with size 1."""
    if torch.compiler.is_compiling():
        across, down = _sums(x * x)
        return across / x.size(-1), down / x.size(-2)
    return _mean_square(x, -1), _mean_square(x, -2)


def _mean_square(x: Tensor, dim: int) -> Tensor:
    # Without a copy of x's size.
    result: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return result.square().div_(x.size(dim))


def settled(x: T) -> T:
    """``x``, which compiled code stores at this point, rather than work it out anew wherever it is used."""
    if not (isinstance(x, Tensor) and torch.compiler.is_compiling()):
        return x
    return x.expand(2, *x.shape).amax(0)


def rows_like(n: int) -> int:
    """The number of rows that stands for all those of its kind: compiled code sums by blocks of rows, and what is made
    depends on whether there is none, one or several, and on what is left over.
    """
    blocks, rest = divmod(n, _ROWS)
    return (blocks if blocks < 2 else 4) * _ROWS + min(rest, 2)


def _sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """The sums along the last and the last but one dimension, for compiled code, which reads ``x`` once.

    By blocks of rows that a cache holds: along each row, then down the block's columns; these sums are added at last.
    """
    rows = x.size(-2) // _ROWS * _ROWS
    rest = x[..., rows:, :]
    across, down = _along_rows(rest), rest.sum(-2, keepdim=True)
    if rows == 0:
        return across, down
    blocks = x[..., :rows, :].reshape(*x.shape[:-2], -1, _ROWS, x.size(-1))
    # With a number of the whole block at hand, the loops over blocks and over their rows stay two.
    lines = _along_rows(along(blocks, blocks[..., :1, :1]))
    columns = along(blocks, lines.sum(-2, keepdim=True)).sum(-2)
    return torch.cat([lines.flatten(-3, -2), across], -2), columns.sum(-2, keepdim=True) + down


def _along_rows(x: Tensor) -> Tensor:
    # In fp64 the compiler keeps the sum in a register; of more than 4,096 fp32 numbers, in memory, in pieces.
    return x.double().sum(-1, keepdim=True).to(x.dtype)


def as_it_is(x: Tensor) -> Tensor:
    """A copy, where autograd follows and keeps what must not change any more."""
    return x.clone() if torch.is_grad_enabled() and x.requires_grad else x
