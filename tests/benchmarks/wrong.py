"""Other people's optimizers, as the benchmarks may meet them: right, wrong in one way, or broken."""

from typing import ClassVar

import torch

from benchmarks.contestants import Contestant, Entry

MISTAKES = ("eps", "no decay", "coupled decay", "lr", "no bias correction")
"""What others get wrong, or call by the same name."""


class OtherAdamW(torch.optim.Optimizer):
    """AdamW in plain torch, but for ``mistake``."""

    def __init__(self, params, lr, betas, eps, weight_decay=0.0, mistake=None):
        self.mistake = mistake
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.update(param, group)

    def update(self, param, group):
        """One parameter's step."""
        state = self.state[param]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        lr = group["lr"] * (1.001 if self.mistake == "lr" else 1)
        eps = 1e-3 if self.mistake == "eps" else group["eps"]
        grad = param.grad
        if self.mistake == "coupled decay":
            grad = grad.add(param, alpha=group["weight_decay"])
        elif self.mistake != "no decay":
            param.mul_(1 - lr * group["weight_decay"])
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        steps = float("inf") if self.mistake == "no bias correction" else state["step"]
        root = (state["exp_avg_sq"].sqrt() / (1 - beta2**steps) ** 0.5).add_(eps)
        param.addcdiv_(state["exp_avg"], root, value=-lr / (1 - beta1**steps))


class Raising(OtherAdamW):
    """Breaks at its first step."""

    def step(self):
        raise RuntimeError("no kernel image\nis available")


class RaisingLate(OtherAdamW):
    """Breaks when it is timed: its first step is a good one."""

    def step(self):
        if self.state:
            raise RuntimeError("no kernel image\nis available")
        super().step()


class Refusing(OtherAdamW):
    """Cannot be constructed."""

    def __init__(self, params, **options):
        raise AssertionError("needs another machine")


class Writing(OtherAdamW):
    """Leaves other numbers in the gradients."""

    def step(self):
        super().step()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.grad.neg_()


class Greedy(OtherAdamW):
    """Takes gradients away when it has used them, and remembers how many it found at each step."""

    found: ClassVar[list[int]] = []

    def step(self):
        params = [param for group in self.param_groups for param in group["params"]]
        self.found.append(sum(param.grad is not None for param in params))
        super().step()
        for param in params:
            param.grad = None


def contestant(name="another", cls="OtherAdamW", optimizer="adamw", **more):
    """Whoever is in this module, under another package's name."""
    fixed = {"mistake": more.pop("mistake")} if "mistake" in more else {}
    return Contestant(name, "another", __name__, {optimizer: Entry(cls, fixed=fixed)}, **more)
