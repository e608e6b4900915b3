"""What layer-wise optimizers share: a step in proportion to the size of a layer's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine.arithmetic import settled


def trust_ratio(weight_norm: Tensor, update_norm: Tensor) -> Tensor:
    """‖w‖ / ‖u‖, 1 where either is zero: such a layer would never move, or jump."""
    zero = (weight_norm == 0) | (update_norm == 0)
    return settled(torch.where(zero, 1.0, weight_norm / torch.where(zero, 1.0, update_norm)))
