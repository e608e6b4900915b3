"""Clipping each unit's gradient by the size of its weights: Brock, De, Smith & Simonyan (2021), "High-Performance
Large-Scale Image Recognition Without Normalization", arXiv 2102.06171, equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine import checks
from ..engine.layout import compute_dtype, same_layout, units_in_order
from ..engine.transform import unit_scale
from .gather import Tensors, as_list, foreign, kernels_run_on, share_memory, walkable, writable


@torch.no_grad()
def adaptive_clip_grad_(parameters: Tensors, clip_factor: float = 0.01, eps: float = 1e-3) -> None:
    r"""Clips gradients that are large for the weights they belong to.

    .. math::
        g_i \leftarrow \begin{cases}
            \lambda \dfrac{\max(\|w_i\|, \epsilon)}{\|g_i\|} \, g_i
                & \text{if } \|g_i\| > \lambda \max(\|w_i\|, \epsilon) \\
            g_i & \text{otherwise}
        \end{cases}

    A unit :math:`i` is what belongs to one index of the first dimension: a row of a linear layer's weight, one output
    of a convolution. A tensor with fewer than two dimensions is one unit. Norms are Euclidean, with sums in fp64.

    ``.grad`` is changed in place. On a GPU it takes three launches for all gradients of a device and dtype; elsewhere,
    and for tensors that kernels cannot walk, torch's operations do it.

    Args:
        parameters: a tensor, or an iterable of tensors; those without a gradient are passed over. The paper leaves out
            the last linear layer.
        clip_factor: λ, the largest ratio of a unit's gradient to its weights; a finite number > 0. Default: 0.01, the
            paper's for batches of 4096; smaller batches need less clipping, a larger λ.
        eps: ε, the least size that a unit's weights count as, so that one which begins at zero can grow; a finite
            number > 0. Default: 1e-3, the paper's.

    Raises:
        ValueError: for a ``clip_factor`` or an ``eps`` that is not a finite number > 0.
        RuntimeError: for a sparse gradient, one of another shape than its parameter, or one with several elements in
            one place.

    All of these are raised before anything is changed.

    >>> import torch
    >>> from torchopt_notes.clip import adaptive_clip_grad_
    >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    >>> weight.grad = torch.tensor([[0.3, 0.4], [0.003, 0.004]])
    >>> adaptive_clip_grad_([weight], clip_factor=0.01)
    >>> weight.grad
    tensor([[0.0300, 0.0400],
            [0.0030, 0.0040]])
    """
    name = "adaptive_clip_grad_"
    checks.positive(name, "clip_factor", clip_factor, "Invalid clip_factor value")
    checks.positive(name, "eps", eps, "Invalid eps value")
    clip_factor, eps = float(clip_factor), float(eps)
    pairs = [(parameter, parameter.grad) for parameter in as_list(parameters) if parameter.grad is not None]
    for param, grad in pairs:
        if grad.layout is not torch.strided:
            raise RuntimeError(f"{name}: gradients of layout {grad.layout} are not supported; leave them out")
        checks.updatable(name, param, grad, fused=False)
    writable(name, [grad for _, grad in pairs])
    fused: dict[tuple[torch.device, torch.dtype, torch.dtype], list[tuple[Tensor, Tensor]]] = {}
    served = {device: kernels_run_on(device) for device in {grad.device for _, grad in pairs}}
    for param, grad in pairs:
        if served[grad.device] and _suits(param, grad):
            fused.setdefault((param.device, param.dtype, grad.dtype), []).append((param, grad))
    taken: set[int] = set()
    for members in fused.values():
        if not share_memory([grad for _, grad in members]):
            from .unit_launches import clip_units

            clip_units([param for param, _ in members], [grad for _, grad in members], clip_factor, eps)
            taken.update(id(grad) for _, grad in members)
    for param, grad in pairs:
        if id(grad) not in taken:
            _clip(param, grad, clip_factor, eps)


def _suits(param: Tensor, grad: Tensor) -> bool:
    """Whether kernels can walk both at once, unit by unit."""
    if foreign([param, grad]) or compute_dtype(param.dtype) != compute_dtype(grad.dtype):
        return False
    return walkable(param) and walkable(grad) and units_in_order(param) and same_layout(grad, param)


def _clip(param: Tensor, grad: Tensor, clip_factor: float, eps: float) -> None:
    """One gradient by torch's operations, in fp32 at least."""
    wide = torch.promote_types(torch.promote_types(param.dtype, grad.dtype), torch.float32)
    grad.mul_(unit_scale(param.to(wide), grad.to(wide), clip_factor, eps))
