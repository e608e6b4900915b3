"""Another process that goes on with what it is given, for test_resume: ``python -m tests.schedules.resumed IN OUT``."""

import sys

import torch

from torchopt_notes import schedules as S

from .cases import EVERY
from .common import sgd

STEPS = 60


def make(name):
    """A scheduler of a new run."""
    optimizer = sgd()
    return S.Scheduler(optimizer, lr=EVERY[name], momentum=[EVERY[name]])


def row(scheduler, steps):
    """What the hyperparameters are now and after each of ``steps`` steps."""
    (group,) = scheduler.optimizer.param_groups
    values = [(group["lr"], group["momentum"])]
    scheduler.optimizer.step()
    for _ in range(steps):
        scheduler.step()
        values.append((group["lr"], group["momentum"]))
    return values


def main(given, results):
    """Reads a list of checkpoints, and writes what follows each. Every other time the optimizer is loaded last."""
    found = []
    for checkpoint in torch.load(given, weights_only=True):
        scheduler = make(checkpoint["name"])
        parts = [("optimizer", scheduler.optimizer), ("scheduler", scheduler)]
        for name, part in parts if checkpoint["step"] % 2 else reversed(parts):
            part.load_state_dict(checkpoint[name])
        found.append(row(scheduler, STEPS - checkpoint["step"]))
    torch.save(found, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
