"""Schedulers in every form, made the same way from torch's module and from this package's; also by another process."""

import math

import torch
import torch.optim.lr_scheduler as torchs

import torchopt_notes
import torchopt_notes.lr_scheduler as ours

MODULES = {"torch": torchs, "ours": ours}


def parameter():
    return torch.nn.Parameter(torch.ones(1))


def two_groups():
    return [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.037}]


OPTIMIZERS = {
    "torch SGD": lambda: torch.optim.SGD(two_groups(), lr=0.1, momentum=0.9),
    "torch AdamW": lambda: torch.optim.AdamW(two_groups(), lr=0.1),
    "our SGD": lambda: torchopt_notes.SGD(two_groups(), lr=0.1, momentum=0.9),
    "our AdamW": lambda: torchopt_notes.AdamW(two_groups(), lr=0.1),
}


class Falling:
    """A function that has a state."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return 1 / (1 + self.rate * epoch)


class InverseSquareRoot(torchs.LRScheduler):
    """As users write them: only get_lr."""

    def get_lr(self):
        return [base / math.sqrt(1 + self.last_epoch) for base in self.base_lrs]


class OwnStep(InverseSquareRoot):
    """As some users write them: a step that takes nothing."""

    def step(self):
        super().step()


# Each takes a module, an optimizer, and what a single scheduler is resumed with, and makes what is stepped in turn.
SINGLE = {
    "StepLR": lambda m, o, **k: [m.StepLR(o, 7, 0.9, **k)],
    "StepLR by default": lambda m, o, **k: [m.StepLR(o, 30, **k)],
    "StepLR to zero": lambda m, o, **k: [m.StepLR(o, 40, 0.0, **k)],
    "MultiStepLR": lambda m, o, **k: [m.MultiStepLR(o, [3, 50, 50, 200], 0.3, **k)],
    "MultiStepLR from zero": lambda m, o, **k: [m.MultiStepLR(o, [0, 20, 10], **k)],
    "ConstantLR": lambda m, o, **k: [m.ConstantLR(o, 0.3, 17, **k)],
    "ConstantLR by default": lambda m, o, **k: [m.ConstantLR(o, **k)],
    "LinearLR up": lambda m, o, **k: [m.LinearLR(o, 0.01, 1.0, 300, **k)],
    "LinearLR down": lambda m, o, **k: [m.LinearLR(o, 1.0, 0.0, 48, **k)],
    "LinearLR by default": lambda m, o, **k: [m.LinearLR(o, **k)],
    "ExponentialLR": lambda m, o, **k: [m.ExponentialLR(o, 0.99, **k)],
    "ExponentialLR up": lambda m, o, **k: [m.ExponentialLR(o, 1.01, **k)],
    "PolynomialLR": lambda m, o, **k: [m.PolynomialLR(o, 450, 2.3, **k)],
    "PolynomialLR short": lambda m, o, **k: [m.PolynomialLR(o, 43, 0.5, **k)],
    "PolynomialLR by default": lambda m, o, **k: [m.PolynomialLR(o, **k)],
    "CosineAnnealingLR": lambda m, o, **k: [m.CosineAnnealingLR(o, 500, **k)],
    "CosineAnnealingLR with a floor": lambda m, o, **k: [m.CosineAnnealingLR(o, 60, eta_min=0.003, **k)],
    "CosineAnnealingLR up and down": lambda m, o, **k: [m.CosineAnnealingLR(o, 10, **k)],
    "CosineAnnealingLR above its base": lambda m, o, **k: [m.CosineAnnealingLR(o, 30, eta_min=0.2, **k)],
    "CosineAnnealingWarmRestarts": lambda m, o, **k: [m.CosineAnnealingWarmRestarts(o, 33, **k)],
    "CosineAnnealingWarmRestarts doubling": lambda m, o, **k: [m.CosineAnnealingWarmRestarts(o, 10, 2, 0.001, **k)],
    "CosineAnnealingWarmRestarts tripling": lambda m, o, **k: [m.CosineAnnealingWarmRestarts(o, 3, 3, **k)],
    "LambdaLR": lambda m, o, **k: [m.LambdaLR(o, lambda epoch: 0.95**epoch, **k)],
    "LambdaLR of two": lambda m, o, **k: [m.LambdaLR(o, [lambda epoch: 0.95**epoch, Falling(0.1)], **k)],
    "CyclicLR": lambda m, o, **k: [m.CyclicLR(o, 0.001, 0.1, 20, **k)],
    "CyclicLR triangular2": lambda m, o, **k: [
        m.CyclicLR(o, [0.001, 0], [0.1, 0.2], 7, 13, "triangular2", base_momentum=[0.7, 0.8], **k)
    ],
    "CyclicLR exp_range": lambda m, o, **k: [m.CyclicLR(o, 0.001, 0.1, 20, mode="exp_range", gamma=0.995, **k)],
    "CyclicLR of lr only": lambda m, o, **k: [m.CyclicLR(o, 0.001, 0.1, 9, cycle_momentum=False, **k)],
    "CyclicLR scaled by iterations": lambda m, o, **k: [
        m.CyclicLR(o, 0.001, 0.1, 3, 7, scale_fn=Falling(0.01), scale_mode="iterations", **k)
    ],
    "CyclicLR scaled by cycle": lambda m, o, **k: [m.CyclicLR(o, 0.001, 0.1, 3, scale_fn=lambda n: 0.9**n, **k)],
    "CyclicLR sawtooth": lambda m, o, **k: [m.CyclicLR(o, 0.001, 0.1, 8, 0, **k)],
    "OneCycleLR": lambda m, o, **k: [m.OneCycleLR(o, [0.1, 0.3], 500, **k)],
    "OneCycleLR in three phases": lambda m, o, **k: [
        m.OneCycleLR(o, 0.1, 500, pct_start=0.07, anneal_strategy="linear", three_phase=True, **k)
    ],
    "OneCycleLR of epochs": lambda m, o, **k: [
        m.OneCycleLR(
            o, 0.1, epochs=10, steps_per_epoch=50, pct_start=0.1, final_div_factor=10, base_momentum=[0.8, 0.7], **k
        )
    ],
    "OneCycleLR of lr only": lambda m, o, **k: [m.OneCycleLR(o, 0.1, 500, cycle_momentum=False, **k)],
}
ACCUMULATING = {
    "MultiplicativeLR": lambda m, o, **k: [m.MultiplicativeLR(o, lambda epoch: 0.99 + epoch / 1e5, **k)],
    "MultiplicativeLR of two": lambda m, o, **k: [m.MultiplicativeLR(o, [Falling(1e-4), lambda epoch: 0.99], **k)],
}
SEQUENTIAL = {
    "SequentialLR warm-up and cosine": lambda m, o, **k: [
        m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=20), m.CosineAnnealingLR(o, 400)], [20], **k)
    ],
    "SequentialLR of four": lambda m, o, **k: [
        m.SequentialLR(
            o,
            [m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.99), m.CyclicLR(o, 0.01, 0.1, 10), m.PolynomialLR(o, 100)],
            [10, 30, 45],
            **k,
        )
    ],
    "SequentialLR and restarts": lambda m, o, **k: [
        m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=20), m.CosineAnnealingWarmRestarts(o, 20, 2)], [20], **k)
    ],
    "SequentialLR of cycles": lambda m, o, **k: [
        m.SequentialLR(
            o, [m.CyclicLR(o, 0.01, 0.1, 5), m.ExponentialLR(o, 0.9), m.CyclicLR(o, 0.02, 0.2, 7)], [13, 31], **k
        )
    ],
    "SequentialLR of a user's": lambda m, o, **k: [
        m.SequentialLR(o, [InverseSquareRoot(o), OwnStep(o), m.StepLR(o, 5)], [11, 30], **k)
    ],
}
CHAINED = {
    "ChainedScheduler": lambda m, o: [
        m.ChainedScheduler([m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.99)], optimizer=o)
    ],
    "ChainedScheduler of three": lambda m, o: [
        m.ChainedScheduler(
            [m.CosineAnnealingLR(o, 70, eta_min=0.01), m.StepLR(o, 50, 0.5), m.LinearLR(o, 0.2, total_iters=30)]
        )
    ],
}
IN_TURN = {
    "two in turn": lambda m, o, **k: [m.ExponentialLR(o, 0.99, **k), m.MultiStepLR(o, [30, 80], 0.1, **k)],
    "three in turn": lambda m, o, **k: [
        m.ConstantLR(o, 0.1, 8, **k),
        m.ExponentialLR(o, 0.99, **k),
        m.CosineAnnealingLR(o, 100, 1e-3, **k),
    ],
}
PLATEAU = {
    "ReduceLROnPlateau": lambda m, o: [m.ReduceLROnPlateau(o, factor=0.7, patience=3)],
    "ReduceLROnPlateau with all options": lambda m, o: [
        m.ReduceLROnPlateau(o, "max", 0.5, 1, 0.01, "abs", cooldown=4, min_lr=[1e-3, 1e-2], eps=1e-4)
    ],
    "ReduceLROnPlateau after a warm-up": lambda m, o: [
        m.LinearLR(o, 0.1, total_iters=12),
        m.ReduceLROnPlateau(o, factor=0.9, patience=0),
    ],
}
CASES = SINGLE | ACCUMULATING | SEQUENTIAL | CHAINED | IN_TURN | PLATEAU


def metric(step):
    """Of a run that improves, and worsens again, more than once."""
    return math.sin(step / 9) + math.sin(step * 2.3) / 5 - step / 300


def advance(optimizer, schedulers, step):
    optimizer.step()
    advance_schedulers(schedulers, step)


def advance_schedulers(schedulers, step):
    for scheduler in schedulers:
        if isinstance(scheduler, torchs.ReduceLROnPlateau):
            scheduler.step(metric(step))
        else:
            scheduler.step()


def driven(optimizer):
    """The learning rate of each group, and the momentum or the first beta."""
    values = []
    for group in optimizer.param_groups:
        values += [group["lr"], group["betas"][0] if "betas" in group else group["momentum"]]
    return values


def trajectory(module, case, optimizer_name, steps):
    """What is driven before each step and after the last one."""
    optimizer = OPTIMIZERS[optimizer_name]()
    schedulers = CASES[case](module, optimizer)
    values = [driven(optimizer)]
    for step in range(steps):
        advance(optimizer, schedulers, step)
        values.append(driven(optimizer))
    return values
