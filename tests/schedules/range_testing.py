"""A model, optimizers and what is compared, for the tests that a range test leaves no trace."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import torchopt_notes as optim
from tests.backends import backend
from torchopt_notes.schedules import lr_range_test

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


class Net(nn.Module):
    """Much of what a test could disturb: batch norm, dropout, buffers of all kinds, attributes, a frozen weight."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3), nn.Dropout(0.5)
        )
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))
        self.beside = nn.Parameter(torch.ones(3))  # trained by nobody, but it gets gradients
        self.register_buffer("assigned", torch.zeros(3), persistent=False)
        self.register_buffer("grown", None)
        self.register_buffer("expanded", torch.zeros(1).expand(4))
        self.calls = 0
        self.seen = []
        self.cache = {"mean": torch.zeros(3)}
        self.body[5].eval()

    def forward(self, x):
        self.calls += 1
        self.seen.append(self.calls)
        self.cache["mean"].add_(1)
        self.cache[self.calls] = None
        self.expanded[:1].add_(1)
        y = self.body(x) * self.frozen + self.beside
        self.assigned = self.assigned * 0.9 + y.detach().mean(0)
        self.grown = y.detach().clone()
        return y


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)


BATCHES = [batch(0), batch(1), batch(2)]
DATA = TensorDataset(torch.cat([x for x, _ in BATCHES]), torch.cat([y for _, y in BATCHES]))

OPTIMIZERS = {
    "torch-sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    "torch-adamw": lambda groups: torch.optim.AdamW(groups, lr=torch.tensor(0.01), foreach=False),
    "torch-adamw-fused": lambda groups: torch.optim.AdamW(groups, lr=0.01, fused=True),
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, backend="eager", skip_nonfinite=True),
    "adamw-eager": lambda groups: optim.AdamW(groups, lr=torch.tensor(0.01), backend="eager", max_grad_norm=1.0),
    "adamw-compiled": lambda groups: optim.AdamW(groups, lr=0.01, backend="compiled", max_grad_norm=1.0),
    "asgd": lambda groups: optim.ASGD(groups, lr=0.01, backend="eager"),
}
NAMES = [pytest.param(name, marks=backend("compiled").marks if name == "adamw-compiled" else ()) for name in OPTIMIZERS]


def training(name, *, before=3, device="cpu"):
    """A model and its optimizer after a few steps."""
    torch.manual_seed(0)
    model = Net().to(device)
    elsewhere = nn.Parameter(torch.ones(2, device=device))  # of no module
    optimizer = OPTIMIZERS[name]([{"params": list(model.body.parameters())}, {"params": [model.unused, elsewhere]}])
    train(model, optimizer, before)
    return model, optimizer


def train(model, optimizer, steps):
    losses = []
    for i in range(steps):
        x, y = (one.to(model.frozen.device) for one in BATCHES[i % 3])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def range_test(model, optimizer, batches=BATCHES, loss_fn=nn.functional.cross_entropy, **options):
    return lr_range_test(model, loss_fn, batches, optimizer, **{"steps": 12, "start": 1e-4} | options)


def frozen(value):
    """The content of a value, and which object it is where that matters."""
    if isinstance(value, Tensor):
        grad = frozen(value.grad) if value.is_leaf else None
        content = (
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
        return id(value), value.data_ptr(), tuple(value.shape), value.dtype, content, value.requires_grad, grad
    if isinstance(value, torch.Generator):
        return frozen(value.get_state())[4]
    if isinstance(value, dict):
        return id(value), [(key if isinstance(key, str) else id(key), frozen(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [frozen(one) for one in value]
    return value if isinstance(value, (int, float, str, bytes, type(None))) else id(value)


ENGINE_INTERNAL = ("_plan", "_in_kernel")


def fingerprint(model, optimizer, *others):
    """All that anybody could see of both, and of the random states."""
    return {
        "modules": [frozen({k: v for k, v in vars(m).items() if k != "_modules"})[1] for m in model.modules()],
        "optimizer": frozen({k: v for k, v in vars(optimizer).items() if k not in ENGINE_INTERNAL})[1],
        "norm": [
            float(one)
            for one in (getattr(optimizer, "grad_norm", 0), getattr(optimizer, "skipped_steps", 0))
            if one is not None
        ],
        "random": (
            random.getstate(),
            frozen(torch.get_rng_state())[4],
            np.random.get_state()[1].tobytes(),
            np.random.get_state()[2],
        ),
        "others": [frozen(one) for one in others],
    }


class Weight(nn.Module):
    """One number, whatever the inputs."""

    def __init__(self, value=1.0, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value, dtype=dtype))

    def forward(self, inputs):
        return self.w


TRACES = {
    "parameter": lambda model, opt: model.body[0].weight.data.mul_(1 + 1e-6),
    "parameter of no module": lambda model, opt: opt.param_groups[1]["params"][1].data.add_(1e-6),
    "another parameter": lambda model, opt: setattr(model, "unused", nn.Parameter(model.unused.detach().clone())),
    "requires_grad": lambda model, opt: model.frozen.requires_grad_(),
    "gradient": lambda model, opt: model.body[0].weight.grad.add_(1e-6),
    "another gradient": lambda model, opt: setattr(model.beside, "grad", model.beside.grad.clone()),
    "no gradient": lambda model, opt: setattr(model.beside, "grad", None),
    "running mean": lambda model, opt: model.body[1].running_mean.add_(1e-6),
    "buffer": lambda model, opt: setattr(model, "assigned", model.assigned.clone()),
    "expanded buffer": lambda model, opt: model.expanded[:1].add_(1),
    "cache": lambda model, opt: model.cache["mean"].add_(1),
    "attribute": lambda model, opt: setattr(model, "calls", 0),
    "list": lambda model, opt: model.seen.pop(),
    "mode": lambda model, opt: model.train(),
    "state": lambda model, opt: opt.state[model.body[0].weight]["exp_avg"].mul_(1 + 1e-6),
    "another state": lambda model, opt: opt.load_state_dict(opt.state_dict()),
    "less state": lambda model, opt: opt.state.pop(model.body[0].weight),
    "count": lambda model, opt: opt.state[model.body[0].weight]["step"].add_(1),
    "rate": lambda model, opt: opt.param_groups[0]["lr"].add_(1e-6),
    "another tensor as rate": lambda model, opt: opt.param_groups[0].update(lr=opt.param_groups[0]["lr"].clone()),
    "group key": lambda model, opt: opt.param_groups[0].update(initial_lr=1.0),
    "attribute of the optimizer": lambda model, opt: setattr(opt, "_opt_called", True),
    "python's randomness": lambda model, opt: random.random(),
    "numpy's randomness": lambda model, opt: np.random.rand(),
    "torch's randomness": lambda model, opt: torch.rand(1),
}
