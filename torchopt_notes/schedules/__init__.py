"""Schedules: pure functions of the step, and what drives an optimizer's hyperparameters with them.

>>> from torchopt_notes import schedules as S
>>> schedule = S.warmup(500) >> S.cosine(9_500, end=0.1)
>>> schedule(250), schedule(500), schedule(10_000)
(0.5, 1.0, 0.1)

Read in this order: :mod:`.schedule` (what a schedule is, and how two become one), :mod:`.shapes`, :mod:`.decays`,
:mod:`.phases` and :mod:`.cycles` (the functions), :mod:`.scheduler` (sets hyperparameters from the step),
:mod:`.plateau`, :mod:`.early_stopping` and :mod:`.range_test` (what looks at a metric). Classes with the names and
signatures of ``torch.optim.lr_scheduler`` are in :mod:`torchopt_notes.lr_scheduler`.
"""

from .cycles import cyclic, one_cycle, warm_restarts
from .decays import exponential, inverse_sqrt, inverse_time, multistep, step_decay
from .early_stopping import EarlyStopping
from .phases import cooldown, warmup, wsd
from .plateau import ReduceOnPlateau
from .range_test import RangeTest, lr_range_test
from .schedule import Schedule
from .scheduler import Scheduler
from .shapes import constant, cosine, linear, polynomial, rex

__all__ = [
    "EarlyStopping",
    "RangeTest",
    "ReduceOnPlateau",
    "Schedule",
    "Scheduler",
    "constant",
    "cooldown",
    "cosine",
    "cyclic",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "lr_range_test",
    "multistep",
    "one_cycle",
    "polynomial",
    "rex",
    "step_decay",
    "warm_restarts",
    "warmup",
    "wsd",
]
