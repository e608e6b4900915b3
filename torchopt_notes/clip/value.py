"""Clipping every element of the gradients on its own."""

from __future__ import annotations

import torch

from .gather import Tensors, as_list, bound, foreign, gradients, group, writable


@torch.no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    r"""Clips gradients element by element. Takes the arguments of ``torch.nn.utils.clip_grad_value_``.

    .. math::
        g_j \leftarrow \min(\max(g_j, -\texttt{clip\_value}), \texttt{clip\_value})

    ``.grad`` is changed in place; a NaN stays NaN. On a GPU that is one launch for all gradients of a device and dtype.

    Args:
        parameters: a tensor, or an iterable of tensors; those without a gradient are passed over. If there are none,
            nothing happens (torch raises a RuntimeError).
        clip_value: the largest size of an element, a number >= 0 or inf.
        foreach: None, or True to refuse devices that torch has no list operations for. False uses torch's operations
            one tensor at a time, and no kernels.

    Raises:
        ValueError: for a ``clip_value`` that is negative or NaN. torch accepts both, and makes every element the same.
        NotImplementedError: for complex gradients, which have no order, and for sparse ones, as torch does.
        RuntimeError: for a gradient with several elements in one place, or ``foreach=True`` on an unsupported device.

    All of these are raised before anything is changed.

    >>> import torch
    >>> from torchopt_notes.clip import clip_grad_value_
    >>> weight = torch.nn.Parameter(torch.zeros(3))
    >>> weight.grad = torch.tensor([-2.0, 0.5, 3.0])
    >>> clip_grad_value_(weight, clip_value=1.0)
    >>> weight.grad
    tensor([-1.0000,  0.5000,  1.0000])
    """
    parameters, limit = as_list(parameters), bound("clip_grad_value_", "clip_value", clip_value)
    grads = gradients(parameters)
    if foreign(grads):
        torch.nn.utils.clip_grad_value_(parameters, limit, foreach)
        return
    for grad in grads:
        if grad.is_complex() or grad.layout is not torch.strided:
            kind = "complex types" if grad.is_complex() else f"gradients of layout {grad.layout}"
            raise NotImplementedError(f"clip_grad_value_: clamp is not supported for {kind}; use clip_grad_norm_")
    writable("clip_grad_value_", grads)
    for members in group(grads, foreach):
        if members.fused:
            from .launches import Launches

            Launches(members.device, [members.fused], limit).clamp()
        if members.rest and members.foreach:
            torch._foreach_clamp_min_(members.rest, -limit)
            torch._foreach_clamp_max_(members.rest, limit)
        for grad in () if members.foreach else members.rest:
            grad.clamp_(min=-limit, max=limit)
