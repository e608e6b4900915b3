"""Adam that touches only the rows a gradient names: :class:`SparseAdam`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import backends, checks
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions
from ..engine.rule import Rule, Scalar


class SparseAdamScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    step_size: Scalar
    weight1: Scalar
    weight2: Scalar
    eps: Scalar


def sparse_adam(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: SparseAdamScalars, flags: tuple[()]) -> None:
    """Adam on the rows that have a gradient. The others' averages do not decay, and their weights stay."""
    exp_avg, exp_avg_sq = state
    grad = grad.coalesce()  # the step is not linear, so each row may appear only once
    if grad.values().numel() == 0:
        return
    change, new_exp_avg = _average(exp_avg, grad, grad.values(), h.weight1)
    change_sq, new_exp_avg_sq = _average(exp_avg_sq, grad, grad.values().pow(2), h.weight2)
    exp_avg.add_(change)
    exp_avg_sq.add_(change_sq)
    denom = new_exp_avg_sq.sqrt_().add_(h.eps)
    param.add_(_like(grad, -h.step_size * new_exp_avg.div_(denom)))


def _average(average: Tensor, grad: Tensor, values: Tensor, weight: Scalar) -> tuple[Tensor, Tensor]:
    """What an average of ``values`` changes by in the gradient's rows, and what it then is there."""
    old = average.sparse_mask(grad).values()
    change = values.sub(old).mul_(weight)
    return _like(grad, change), change + old


def _like(grad: Tensor, values: Tensor) -> Tensor:
    # The indices are those of a tensor that torch itself has put in order.
    return torch.sparse_coo_tensor(grad.indices(), values, grad.shape, check_invariants=False)


def sparse_adam_scalars(step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar) -> SparseAdamScalars:
    """The bias corrections, folded into the step size. The count is always a number: the rule runs on the host."""
    step_size = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    return SparseAdamScalars(step_size, 1 - beta1, 1 - beta2, eps)


class SparseAdam(Optimizer):
    r"""Adam for sparse gradients: a step changes weights and averages only in the rows that have a gradient.

    .. math::
        m_t &= m_{t-1} + (1 - \beta_1) (g_t - m_{t-1}) \\
        v_t &= v_{t-1} + (1 - \beta_2) (g_t^2 - v_{t-1}) \\
        w_t &= w_{t-1} - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \, m_t / (\sqrt{v_t} + \epsilon)

    in those rows, and nothing in the others: their averages do not decay, so a row that is rarely named has an average
    of old gradients. :math:`t` counts the parameter's steps, not the row's. Gradients come from, for example,
    ``torch.nn.Embedding(sparse=True)``. A drop-in for :class:`torch.optim.SparseAdam`: same arguments, group keys and
    state keys, and the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module; dense, real tensors.
        lr: learning rate η > 0, per step: about the size of one step of any weight. Default 1e-3, Adam's.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.999), Adam's.
        eps: ε > 0, added to the root. Default 1e-8, Adam's.
        maximize: ascend instead of descend.
        backend: ``"auto"`` or ``"eager"``: there is no fused form of a sparse step.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d; a Python number in :meth:`state_dict`, as in torch), ``exp_avg`` and ``exp_avg_sq``, shaped
    like the parameter.

    Raises:
        ValueError: for a value out of range, sparse or complex parameters, or an option that has no meaning here; the
            message says what is allowed.
        RuntimeError: dense gradients; a backend that is demanded and cannot serve sparse gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> table = torch.nn.Embedding(3, 1, sparse=True, _weight=torch.ones(3, 1))
        >>> opt = torchopt_notes.SparseAdam(table.parameters(), lr=0.1)
        >>> table(torch.tensor([1])).sum().backward()
        >>> opt.step()
        >>> [round(w, 6) for w in table.weight.flatten().tolist()]
        [1.0, 0.9, 1.0]

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980; the restriction to rows
    is torch's.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.SparseAdam
    # Sparse tensors never reach a kernel.
    rule: ClassVar[Rule] = Rule(sparse_adam, sparse_adam_scalars, kernel="")
    unsupported: ClassVar[Mapping[str, str]] = {
        "complex": "torch.optim.SparseAdam has no rule for them",
        "weight_decay": "a decay would touch every row",
        "l1": "a penalty would touch every row",
        "adaptive_clip": "a gradient of some rows does not tell the size of the others",
        "fused": "there is no fused form of a sparse step",
        "capturable": "how many rows a gradient names must be read on the host",
        "differentiable": "autograd cannot follow the update of single rows",
    }

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range, or a parameter is sparse itself."""
        super().check_group(group)
        name = cls.__name__
        checks.positive(name, "lr", group["lr"], "Invalid learning rate")
        checks.positive(name, "eps", group["eps"], "Invalid epsilon value")
        checks.betas(name, group["betas"])
        entries = [entry[1] if isinstance(entry, tuple) else entry for entry in group["params"]]
        if sparse := [i for i, param in enumerate(entries) if isinstance(param, Tensor) and param.is_sparse]:
            raise ValueError(
                f"Sparse params at indices {sparse} of their group: {name} requires dense parameter tensors"
            )

    def refuses_sparse(self, group: dict[str, Any]) -> str | None:
        """Sparse gradients are taken."""
        return None

    def choose(self, group: dict[str, Any], param: Tensor, *, shares_memory: bool) -> backends.Choice:
        """The backend of one parameter, and why: the eager one, once the gradient has been found to be sparse."""
        name = type(self).__name__
        if param.grad is not None and not param.grad.is_sparse:
            raise RuntimeError(f"{name} does not support dense gradients, please consider Adam instead")
        super().choose(group, param, shares_memory=shares_memory)
        # Whatever the parameter has now, its gradients will be sparse.
        return backends.choose(name, self.backend, bool(group.get("fused")), param, "sparse gradient")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def state_dict(self) -> dict[str, Any]:
        """As torch's, which counts in Python numbers here: its bias corrections would lose digits with a tensor."""
        saved = super().state_dict()
        saved["state"] = {
            key: {**state, "step": int(state["step"])} if "step" in state else state
            for key, state in saved["state"].items()
        }
        return saved

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"]
