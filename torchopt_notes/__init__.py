"""Drop-in ``torch.optim`` optimizers: an eager reference, a compiled CPU path and a fused Triton kernel for each.

>>> import torch, torchopt_notes as optim
>>> model = torch.nn.Linear(4, 2)
>>> optimizer = optim.AdamW(model.parameters(), lr=1e-3)
>>> model(torch.ones(1, 4)).sum().backward()
>>> optimizer.step()
"""

from typing import TYPE_CHECKING

from ._lazy import lazy

if TYPE_CHECKING:
    from . import lr_scheduler as lr_scheduler
    from . import schedules as schedules
    from .clip import adaptive_clip_grad_, clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
    from .engine.optimizer import Optimizer
    from .groups import describe_groups, param_groups
    from .optim.adabelief import AdaBelief
    from .optim.adadelta import Adadelta
    from .optim.adafactor import Adafactor
    from .optim.adagrad import Adagrad
    from .optim.adam import Adam, AdamW
    from .optim.adamax import Adamax
    from .optim.adan import Adan
    from .optim.ademamix import AdEMAMix
    from .optim.adopt import ADOPT
    from .optim.asgd import ASGD
    from .optim.lamb import LAMB
    from .optim.laprop import LaProp
    from .optim.lars import LARS
    from .optim.nadam import NAdam
    from .optim.novograd import NovoGrad
    from .optim.radam import RAdam
    from .optim.registry import create_optimizer, list_optimizers
    from .optim.rmsprop import RMSprop
    from .optim.rprop import Rprop
    from .optim.sgd import SGD, Momentum
    from .optim.sign import Lion, Signum
    from .optim.sparse_adam import SparseAdam
    from .optim.stable_adamw import StableAdamW

__version__ = "0.1.0"
__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "LaProp",
    "Lion",
    "Momentum",
    "NAdam",
    "NovoGrad",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Signum",
    "SparseAdam",
    "StableAdamW",
    "adaptive_clip_grad_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "create_optimizer",
    "describe_groups",
    "get_total_norm",
    "list_optimizers",
    "param_groups",
]

# Importing the package must be quick: pytest does so, for the plugin, in every run of an environment that has it.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "clip": [
            "adaptive_clip_grad_",
            "clip_grad_norm_",
            "clip_grad_value_",
            "clip_grads_with_norm_",
            "get_total_norm",
        ],
        "engine.optimizer": ["Optimizer"],
        "groups": ["describe_groups", "param_groups"],
        "optim.adabelief": ["AdaBelief"],
        "optim.adadelta": ["Adadelta"],
        "optim.adafactor": ["Adafactor"],
        "optim.adagrad": ["Adagrad"],
        "optim.adam": ["Adam", "AdamW"],
        "optim.adamax": ["Adamax"],
        "optim.adan": ["Adan"],
        "optim.ademamix": ["AdEMAMix"],
        "optim.adopt": ["ADOPT"],
        "optim.asgd": ["ASGD"],
        "optim.lamb": ["LAMB"],
        "optim.laprop": ["LaProp"],
        "optim.lars": ["LARS"],
        "optim.nadam": ["NAdam"],
        "optim.novograd": ["NovoGrad"],
        "optim.radam": ["RAdam"],
        "optim.registry": ["create_optimizer", "list_optimizers"],
        "optim.rmsprop": ["RMSprop"],
        "optim.rprop": ["Rprop"],
        "optim.sgd": ["SGD", "Momentum"],
        "optim.sign": ["Lion", "Signum"],
        "optim.sparse_adam": ["SparseAdam"],
        "optim.stable_adamw": ["StableAdamW"],
    },
    ("clip", "engine", "groups", "lr_scheduler", "optim", "schedules", "testing"),
)
