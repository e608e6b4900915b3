"""``torch.optim.lr_scheduler`` over pure functions: the same names, signatures, attributes and state dicts.

Each class is a subclass of torch's, so that whatever asks for those gets them; what it sets is a function of
``last_epoch`` (:mod:`torchopt_notes.schedules`), so that nothing drifts and a resumed run has the learning rates of an
uninterrupted one. ``docs/schedules.md`` says where this differs from torch.

>>> import torch, torchopt_notes as optim
>>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
>>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
>>> for _ in range(2):
...     optimizer.step()
...     scheduler.step()
>>> scheduler.get_last_lr()
[0.05]
"""

from torch.optim.lr_scheduler import LRScheduler

from .combined import ChainedScheduler, SequentialLR
from .cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from .decays import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
