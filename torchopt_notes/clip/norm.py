"""Clipping by the norm of all gradients together: Pascanu, Mikolov & Bengio (2013), "On the difficulty of training
recurrent neural networks", arXiv 1211.5063.
"""

from __future__ import annotations

import functools
import types
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..engine.norms import clip_coefficient, piece_norms, pieces, wide
from .gather import Group, Tensors, as_list, bound, foreign, gradients, group, writable

if TYPE_CHECKING:
    from .launches import Launches


@torch.no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    r"""The norm of all tensors together, as if they were one vector. Takes the arguments of
    ``torch.nn.utils.get_total_norm``.

    .. math::
        \|g\|_p = \Bigl(\sum_i \sum_j |g_{ij}|^p\Bigr)^{1/p}

    On a GPU all tensors of a device and dtype are summed up in one launch; elsewhere, and for tensors that kernels
    cannot walk (gaps, overlaps, sparse ones), torch's operations do it. Sums are taken in fp64; kernels take
    those of 4096 fp32 numbers in fp32, where that is exact enough. torch sums everything in the tensors' precision: its
    norm of 20 million fp32 numbers is off by 1e-3 of itself on a CPU.

    Args:
        tensors: a tensor, or an iterable of tensors on any devices; a generator is consumed once.
        norm_type: p, a number >= 1 or inf (also ``"inf"``). Below 1 there is no norm, though torch computes something.
        error_if_nonfinite: raise if the norm is inf or NaN. Waits for the device.
        foreach: False uses torch's operations one tensor at a time, and no kernels. True only refuses devices that
            torch has no list operations for.

    Returns:
        The norm: a 0-d tensor on the first tensor's device, in the dtype that torch's has, which is what the tensors'
        real dtypes promote to. 0 for no tensors, and for tensors without elements (where torch refuses p = inf).

    Raises:
        ValueError: for a ``norm_type`` below 1.
        RuntimeError: for a norm of inf or NaN, if ``error_if_nonfinite``; for ``foreach=True`` on unsupported devices.

    >>> import torch
    >>> from torchopt_notes.clip import get_total_norm
    >>> get_total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    tensor(5.)
    """
    tensors, order = as_list(tensors), _order("get_total_norm", norm_type)
    if foreign(tensors):
        return torch.nn.utils.get_total_norm(tensors, order, error_if_nonfinite, foreach)
    return _Clipping(tensors, foreach, order, None).norm(error_if_nonfinite)


@torch.no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    r"""Clips gradients whose norm is known. Takes the arguments of ``torch.nn.utils.clip_grads_with_norm_``.

    .. math::
        g \leftarrow g \cdot \min\Bigl(\frac{\texttt{max\_norm}}{\|g\| + 10^{-6}}, 1\Bigr)

    ``.grad`` is changed in place. On a GPU that is one launch for all gradients of a device and dtype, and one before
    it for the number that they are multiplied with. On a CPU the results are torch's, bit for bit.

    Args:
        parameters: a tensor, or an iterable of tensors; those without a gradient are passed over.
        max_norm: the norm to clip to, a number >= 0 or inf. A tensor on a GPU is waited for, as in torch.
        total_norm: the norm, 0-d, as :func:`get_total_norm` returns it. If it is inf, gradients become 0, and NaN where
            they were inf or NaN; if it is NaN, they become NaN.
        foreach: as in :func:`get_total_norm`.

    Raises:
        ValueError: for a ``max_norm`` that is negative or NaN. torch accepts both, and turns gradients around.
        RuntimeError: for a gradient with several elements in one place, or ``foreach=True`` on an unsupported device.
        TypeError: for a ``total_norm`` that is no tensor.

    All of these are raised before anything is changed.

    >>> import torch
    >>> from torchopt_notes.clip import clip_grads_with_norm_
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_grads_with_norm_([weight], max_norm=1.0, total_norm=torch.tensor(5.0))
    >>> weight.grad
    tensor([0.6000, 0.8000])
    """
    parameters, limit = as_list(parameters), bound("clip_grads_with_norm_", "max_norm", max_norm)
    grads = gradients(parameters)
    if foreign([*grads, total_norm] if isinstance(total_norm, Tensor) else grads):
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, total_norm, foreach)
    elif grads:
        total_norm = _known("clip_grads_with_norm_", total_norm, foreach)
        writable("clip_grads_with_norm_", grads)
        _Clipping(grads, foreach, 2.0, limit).scale(total_norm)


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    r"""Clips the norm of all gradients together. Takes the arguments of ``torch.nn.utils.clip_grad_norm_``.

    .. math::
        g \leftarrow g \cdot \min\Bigl(\frac{\texttt{max\_norm}}{\|g\|_p + 10^{-6}}, 1\Bigr)

    This is :func:`get_total_norm`, then :func:`clip_grads_with_norm_`. On a GPU, gradients of one dtype take three
    launches: one for the sums, a small one for the norm and the number to multiply with, and one to multiply. Nothing
    is read back.

    Args:
        parameters: a tensor, or an iterable of tensors; those without a gradient are passed over.
        max_norm: the norm to clip to, a number >= 0 or inf. 1.0 is a common choice; torch has no default either.
        norm_type: p, a number >= 1 or inf.
        error_if_nonfinite: raise if the norm is inf or NaN, and change nothing. Waits for the device.
        foreach: as in :func:`get_total_norm`.

    Returns:
        The norm before clipping, as :func:`get_total_norm` returns it.

    Raises:
        ValueError, RuntimeError: as the two functions do, before anything is changed.

    >>> import torch
    >>> from torchopt_notes.clip import clip_grad_norm_
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> model(torch.tensor([[3.0, 4.0]])).sum().backward()
    >>> clip_grad_norm_(model.parameters(), max_norm=1.0)
    tensor(5.)
    >>> model.weight.grad
    tensor([[0.6000, 0.8000]])
    """
    generated = isinstance(parameters, types.GeneratorType)
    parameters = as_list(parameters)
    if generated and not parameters:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    limit, order = bound("clip_grad_norm_", "max_norm", max_norm), _order("clip_grad_norm_", norm_type)
    grads = gradients(parameters)
    if foreign(grads):
        return torch.nn.utils.clip_grad_norm_(parameters, limit, order, error_if_nonfinite, foreach)
    writable("clip_grad_norm_", grads)
    clipping = _Clipping(grads, foreach, order, limit)
    total_norm = clipping.norm(error_if_nonfinite)
    clipping.scale(total_norm)
    return total_norm


class _Clipping:
    """Tensors to be measured, scaled, or both: by kernels where they run, by torch's operations elsewhere."""

    def __init__(self, tensors: list[Tensor], foreach: bool | None, order: float, limit: float | None) -> None:
        self.tensors, self.order, self.limit = tensors, order, limit
        # Kernels take complex numbers as pairs of reals, whose norms agree for p = 2 alone.
        self.groups = group(tensors, foreach, lambda tensor: order == 2 or not tensor.is_complex())
        self._launches = self._prepare() if any(members.fused for members in self.groups) else []

    def norm(self, error_if_nonfinite: bool) -> Tensor:
        """The norm of all tensors."""
        if not self.tensors:
            return torch.tensor(0.0)
        device = self.tensors[0].device
        dtypes = [members.dtype.to_real() if members.dtype.is_complex else members.dtype for members in self.groups]
        dtype = functools.reduce(torch.promote_types, dtypes)
        rest = any(members.rest for members in self.groups)
        if not rest and [launches.device for launches in self._launches] == [device]:
            total = self._launches[0].norm(self.order, dtype)
        else:
            norms = [launches.norm(self.order, torch.float64) for launches in self._launches]
            norms += [norm for members in self.groups if members.rest for norm in _norms(members, self.order)]
            # Not into host memory: whoever reads there would not wait.
            norms = [norm.to(device, non_blocking=device.type != "cpu") for norm in norms]
            total = torch.linalg.vector_norm(torch.stack(norms), self.order).to(dtype)
        if error_if_nonfinite and not total.isfinite():
            raise RuntimeError(
                f"The total norm of order {self.order} for gradients from `parameters` is non-finite, so it "
                f"cannot be clipped: it is {total.item()}. Set `error_if_nonfinite=False` to scale by it anyway"
            )
        return total

    def scale(self, norm: Tensor) -> None:
        """Multiplies all tensors with what clips this norm to the limit."""
        assert self.limit is not None, "tensors that are only measured are not scaled"
        for launches in self._launches:
            launches.scale(norm)
        if not any(members.rest for members in self.groups):
            return
        coefficient = clip_coefficient(norm, self.limit)
        for members in self.groups:
            number = coefficient.to(members.device, non_blocking=members.device.type != "cpu")
            if members.foreach and members.rest:
                torch._foreach_mul_(members.rest, number)
            for tensor in () if members.foreach else members.rest:
                tensor.mul_(number)

    def _prepare(self) -> list[Launches]:
        from .launches import Launches

        devices = dict.fromkeys(members.device for members in self.groups if members.fused)
        return [
            Launches(device, [m.fused for m in self.groups if m.device == device and m.fused], self.limit)
            for device in devices
        ]


def _norms(members: Group, order: float) -> list[Tensor]:
    """Norms that together make the norm of what torch's operations take, each 0-d and in fp64."""
    parts = [piece for tensor in members.rest for piece in pieces(tensor)]
    if not parts:
        return [torch.zeros((), device=members.device)]
    if members.foreach and not any(tensor.is_sparse for tensor in members.rest):
        return piece_norms(parts, order)
    return [torch.linalg.vector_norm(piece, order, dtype=wide(piece)) for piece in parts]


def _order(name: str, norm_type: float) -> float:
    """The p of a norm."""
    order = float(norm_type)
    if not order >= 1:
        raise ValueError(f"{name}: Invalid norm_type: {norm_type}; norm_type must be a number >= 1, or inf")
    return order


def _known(name: str, total_norm: Tensor, foreach: bool | None) -> Tensor:
    """A norm that the user passes, as a tensor of real numbers."""
    if not isinstance(total_norm, Tensor):
        raise TypeError(f"{name}: total_norm must be a Tensor, got {total_norm!r}; get_total_norm returns one")
    if total_norm.is_complex() or (total_norm.dim() > 0 and foreach is not False):
        raise RuntimeError(
            f"{name}: total_norm must be a real 0-dim tensor, got {total_norm.dtype} of shape {tuple(total_norm.shape)}"
        )
    return total_norm if total_norm.is_floating_point() else total_norm.to(torch.get_default_dtype())
