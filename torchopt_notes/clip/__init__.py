"""Clipping gradients in place, between ``backward()`` and ``step()``; drop-in for ``torch.nn.utils``.

The optimizers of this package can clip on their own (``max_grad_norm``, ``max_grad_value``, ``adaptive_clip``), and
leave ``.grad`` as it is. These functions rewrite it, for any optimizer.

Read in this order: :mod:`.norm`, :mod:`.value` and :mod:`.adaptive` (the functions), :mod:`.gather` (which tensors go
through kernels), :mod:`.launches` (the kernels' launches).
"""

from .adaptive import adaptive_clip_grad_
from .norm import clip_grad_norm_, clip_grads_with_norm_, get_total_norm
from .value import clip_grad_value_

__all__ = ["adaptive_clip_grad_", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]
