"""Adam in plain torch, with one mistake that shows in one situation only."""

import torch

MISTAKES = {
    "shapes": "leaves 0-d parameters alone",
    "no-empty-shapes": "leaves 0-d parameters alone",
    "non-contiguous": "leaves transposed parameters alone",
    "channels-last": "leaves channels_last parameters alone",
    "views": "leaves what does not begin its storage alone",
    "aspect-ratios": "forgets the end of a long row",
    "many": "takes 50 parameters",
    "strided-gradients": "reads gradients as if they were contiguous",
    "missing-gradients": "counts steps for all parameters together",
    "late-gradients": "counts steps for all parameters together",
    "no-gradients": "decays without a gradient",
    "zero-gradients": "takes a zero for no gradient",
    "sparse-gradients": "raises another error for sparse gradients",
    "huge-gradients": "limits squares",
    "tiny-gradients": "takes tiny gradients for zero",
    "denormal-gradients": "takes denormal gradients for zero",
    "mixed-gradients": "clips gradients",
    "not-finite": "replaces NaN",
    "groups": "reads the first group's lr",
    "schedule": "reads lr at construction",
    "checkpoint": "counts steps outside of the state",
    "switch": "keeps another state on its fast backend",
    "longer": "stops correcting after 20 steps",
}
"""For each scenario, a mistake that it catches."""


class WrongAdam(torch.optim.Optimizer):
    """Adam, but for ``mistake``."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, mistake=None, backend=None):
        self.mistake, self.backend, self.steps, self.lr = mistake, backend, 0, lr
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def load_state_dict(self, state_dict):
        """As torch's, and into the fast backend's own form."""
        super().load_state_dict(state_dict)
        if self.mistake == MISTAKES["switch"] and self.backend == "fast":
            for state in self.state.values():
                state["exp_avg"].mul_(2)

    @torch.no_grad()
    def step(self):
        """One step."""
        if self.mistake == MISTAKES["missing-gradients"] or self.mistake == MISTAKES["checkpoint"]:
            self.steps += 1
        for group in self.param_groups:
            for index, param in enumerate(group["params"]):
                if self.mistake == MISTAKES["many"] and index >= 50:
                    continue
                if param.grad is None:
                    if self.mistake == MISTAKES["no-gradients"] and all(p.grad is None for p in group["params"]):
                        param.mul_(0.999)
                    continue
                self.update(param, group)

    def update(self, param, group):
        """One parameter's step."""
        if param.grad.is_sparse:
            raise (TypeError if self.mistake == MISTAKES["sparse-gradients"] else RuntimeError)(
                "dense gradients, please"
            )
        grad = self.seen(param.grad)
        if grad is None:
            return
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        state["step"] += 1
        step = self.steps or state["step"].item()
        if self.mistake == MISTAKES["longer"]:
            step = min(step, 20)
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if self.mistake == MISTAKES["huge-gradients"]:
            state["exp_avg_sq"].clamp_(max=1e6)
        root = (state["exp_avg_sq"].sqrt() / (1 - beta2**step) ** 0.5).add_(group["eps"])
        before = param.clone()
        param.addcdiv_(state["exp_avg"], root, value=-self.rate(group) / (1 - beta1**step))
        kept = self.left_alone(param)
        param[kept] = before[kept]

    def rate(self, group):
        """The learning rate of a step."""
        if self.mistake == MISTAKES["groups"]:
            return self.param_groups[0]["lr"]
        return self.lr if self.mistake == MISTAKES["schedule"] else group["lr"]

    def seen(self, grad):
        """The gradient as the mistake has it."""
        if self.mistake == MISTAKES["strided-gradients"] and not grad.is_contiguous():
            return grad.as_strided(grad.shape, torch.empty(grad.shape).stride())
        if self.mistake == MISTAKES["zero-gradients"] and grad.numel() and not grad.any():
            return None
        limit = {MISTAKES["tiny-gradients"]: 1e-12, MISTAKES["denormal-gradients"]: torch.finfo(grad.dtype).tiny}
        if self.mistake in limit:
            return torch.where(grad.abs() < limit[self.mistake], 0, grad)
        if self.mistake == MISTAKES["mixed-gradients"]:
            return grad.clamp(-100, 100)
        return grad.nan_to_num() if self.mistake == MISTAKES["not-finite"] else grad

    def left_alone(self, param):
        """Where the mistake keeps the parameter from changing."""
        alone = {
            MISTAKES["shapes"]: param.dim() == 0,
            MISTAKES["non-contiguous"]: not param.is_contiguous(),
            MISTAKES["channels-last"]: param.dim() == 4 and param.stride(1) == 1,
            MISTAKES["views"]: param.storage_offset() > 0,
        }
        mask = torch.full_like(param, alone.get(self.mistake, False), dtype=torch.bool)
        if self.mistake == MISTAKES["aspect-ratios"] and 2048 in (n - 1 for n in param.shape):
            mask.flatten()[-1] = True
        return mask
