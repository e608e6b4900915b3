"""Optimizers to drive, and what is in their groups."""

import copy

import torch

import torchopt_notes

BETAS = {"lr": 0.3, "betas": (0.9, 0.99), "eps": 1e-3, "weight_decay": 0.2}
MOMENTUM = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.2}

KINDS = {
    "torch.SGD": (torch.optim.SGD, MOMENTUM),
    "torch.AdamW": (torch.optim.AdamW, BETAS),
    "SGD": (torchopt_notes.SGD, {**MOMENTUM, "backend": "eager"}),
    "AdamW": (torchopt_notes.AdamW, {**BETAS, "backend": "eager"}),
}
"""torch's optimizers and ours, with hyperparameters that are none of them zero."""


def sgd(groups=1, **options):
    """torch's SGD with groups of one parameter each, whose learning rates are 0.3, 0.6, …"""
    chosen = {**MOMENTUM, **options}
    return torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.3 * (one + 1)} for one in range(groups)], **chosen
    )


def make(kind, **options):
    cls, usual = KINDS[kind]
    torch.manual_seed(0)
    return cls([torch.nn.Parameter(torch.randn(4)), torch.nn.Parameter(torch.randn(2, 3))], **{**usual, **options})


def read(group, name):
    """The value of ``"lr"`` or ``"betas[0]"``."""
    key, _, index = name.rstrip("]").partition("[")
    return group[key][int(index)] if index else group[key]


def numbers(optimizer):
    """All that the groups hold but the parameters, for comparison; copied."""
    return [
        copy.deepcopy({key: one for key, one in group.items() if key != "params"}) for group in optimizer.param_groups
    ]


def train(optimizer):
    """A step of the optimizer, with gradients that depend on the parameters."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.sin(3 * parameter.detach()) + 0.1
    optimizer.step()


def parameters(optimizer):
    return torch.cat([one.detach().flatten() for group in optimizer.param_groups for one in group["params"]]).clone()


def trajectory(scheduler, steps, name="lr"):
    """The values in the first group at the present step and at each of the next ones."""
    group = scheduler.optimizer.param_groups[0]
    values = [float(read(group, name))]
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
        values.append(float(read(scheduler.optimizer.param_groups[0], name)))
    return values
