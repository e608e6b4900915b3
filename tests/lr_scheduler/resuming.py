"""Resumes saved runs in a process of its own: ``python -m tests.lr_scheduler.resuming saved.pt resumed.pt``."""

import sys
import warnings

import torch

from .cases import CASES, MODULES, OPTIMIZERS, advance_schedulers, driven

STEPS = 60


def made(run):
    optimizer = OPTIMIZERS[run["optimizer"]]()
    return optimizer, CASES[run["case"]](MODULES[run["module"]], optimizer)


def load_schedulers(schedulers, run):
    for scheduler, state in zip(schedulers, run["scheduler states"], strict=True):
        # torch's CyclicLR takes something out of the state, which the next order needs.
        scheduler.load_state_dict(dict(state))


def optimizer_first(run):
    optimizer, schedulers = made(run)
    optimizer.load_state_dict(run["optimizer state"])
    load_schedulers(schedulers, run)
    return optimizer, schedulers


def schedulers_first(run):
    optimizer, schedulers = made(run)
    load_schedulers(schedulers, run)
    optimizer.load_state_dict(run["optimizer state"])
    return optimizer, schedulers


def optimizer_before_schedulers_are_made(run):
    optimizer = OPTIMIZERS[run["optimizer"]]()
    optimizer.load_state_dict(run["optimizer state"])
    schedulers = CASES[run["case"]](MODULES[run["module"]], optimizer)
    load_schedulers(schedulers, run)
    return optimizer, schedulers


ORDERS = (optimizer_first, schedulers_first, optimizer_before_schedulers_are_made)


def gone_on(optimizer, schedulers, step):
    values = [driven(optimizer)]
    for later in range(step, step + STEPS):
        advance_schedulers(schedulers, later)
        values.append(driven(optimizer))
    return torch.tensor(values, dtype=torch.float64)


def resumed(runs):
    """Of each run, in each order, what is driven from there on."""
    return [{order.__name__: gone_on(*order(run), run["step"]) for order in ORDERS} for run in runs]


if __name__ == "__main__":
    # That the optimizer makes no steps here.
    warnings.simplefilter("ignore", UserWarning)
    torch.save(resumed(torch.load(sys.argv[1], weights_only=True)), sys.argv[2])
