"""Drop-in ``torch.optim`` optimizers: an eager reference, a compiled CPU path and a fused Triton kernel for each.

>>> import torch, torchopt_notes as optim
>>> model = torch.nn.Linear(4, 2)
>>> optimizer = optim.AdamW(model.parameters(), lr=1e-3)
>>> model(torch.ones(1, 4)).sum().backward()
>>> optimizer.step()
"""

from .engine.optimizer import Optimizer
from .optim.adagrad import Adagrad
from .optim.adam import Adam, AdamW
from .optim.nadam import NAdam
from .optim.rmsprop import RMSprop
from .optim.sgd import SGD, Momentum

__version__ = "0.1.0"
__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Momentum", "NAdam", "Optimizer", "RMSprop"]
