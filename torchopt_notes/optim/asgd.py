"""Gradient descent that averages its path: :class:`ASGD`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, number
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, unusual
from ..engine.rule import Rule, Scalar


class ASGDScalars(NamedTuple):
    """The carried numbers for the next step, and what the rule multiplies with at this one."""

    eta: Scalar
    mu: Scalar
    shrink: Scalar
    step_size: Scalar
    weight: Scalar


def asgd(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: ASGDScalars, flags: tuple[()]) -> None:
    """w ← (1 - λ·η)·w - η·g, then ax ← ax + μ(w - ax), which is w itself while μ = 1."""
    (average,) = state
    add_(param.mul_(h.shrink), grad, -h.step_size)
    if isinstance(h.weight, Tensor):
        average.copy_(torch.where(h.weight == 1, param, average + (param - average) * h.weight))
    elif h.weight == 1:
        average.copy_(param)
    else:
        # Not lerp: torch rounds the difference's product.
        average.add_(param.sub(average).mul_(h.weight))


def asgd_scalars(
    step: Scalar, eta: Scalar, mu: Scalar, lr: Scalar, lambd: Scalar, alpha: Scalar, t0: Scalar
) -> ASGDScalars:
    """The step size and the average's weight for the next step; this one uses those of the step before."""
    rate = lr.detach() if isinstance(lr, Tensor) else lr
    size, weight = _as_they_are(eta), _as_they_are(mu)
    count = step - t0
    return ASGDScalars(
        eta=rate / ((1 + lambd * rate * step) ** alpha),
        mu=1 / (count.clamp(min=1) if isinstance(count, Tensor) else max(1, count)),
        shrink=1 - lambd * size,
        step_size=size,
        weight=weight,
    )


def _as_they_are(value: Scalar) -> Scalar:
    """A carried number in double precision, outside of autograd, and in memory that the next step does not write to."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64, copy=True)
    return number(value)


class ASGD(Optimizer):
    r"""Averaged SGD: gradient descent with a step size that falls, and the mean of the weights along the way.

    .. math::
        w_t &= (1 - \lambda_d \eta_t) w_{t-1} - \eta_t g_t, &
            \eta_{t+1} &= \frac{\eta}{(1 + \lambda_d \, \eta \, t)^\alpha}, \quad \eta_1 = \eta \\
        a_t &= a_{t-1} + \mu_t (w_t - a_{t-1}), &
            \mu_{t+1} &= \frac{1}{\max(1, t - t_0)}, \quad \mu_1 = 1

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. The average a is the result: read it from
    ``optimizer.state[param]["ax"]`` when training is over; until t₀ it is the weight itself. A drop-in for
    :class:`torch.optim.ASGD`: same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step, a factor on the gradient. A step stores the size of the next one, so a new lr
            acts one step late. Default 1e-2, as torch.
        lambd: λ_d ≥ 0, per step and per η: how fast weights decay and the step size falls. Default 1e-4, as torch.
        alpha: power α of the step size's fall. Default 0.75, the paper's.
        t0: t₀, the number of steps after which averaging starts. Default 1e6, as torch: short runs never average.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step (eager backend only). As in torch it does not follow lr, which
            reaches the weights through a stored number.
        capturable: keep step counts, η and μ on the device, so that the step can be captured in a CUDA graph.
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: multiply the weight by 1 - lr·λ before the step instead; this uses today's lr.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step``, ``eta`` and ``mu`` (0-d), η and μ of the next step, and ``ax``, a above, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.ASGD([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.79999

    Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; the schedules are those
    of Xu 2011, "Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent",
    arXiv 1107.2490.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.ASGD
    rule: ClassVar[Rule] = Rule(asgd, asgd_scalars, kernel="asgd", real_transform=True, carried=("eta", "mu"))

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        *,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
            **unusual(fused=fused, decoupled_weight_decay=decoupled_weight_decay),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.non_negative(name, "lambd", group["lambd"], "Invalid lambd value")
        checks.finite(name, "alpha", group["alpha"])
        checks.finite(name, "t0", group["t0"])

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("ax",)

    def new_count(self, name: str, group: dict[str, Any]) -> Scalar:
        """The first step has the size of the learning rate, and its average is the weight."""
        first: dict[str, Scalar] = {"eta": group["lr"], "mu": 1.0}
        return first.get(name, 0.0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer's. torch casts η and μ to the parameter's dtype and rounds them as before; so do we."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for name in state.keys() & set(self.rule.carried):
                state[name] = state[name].to(state["step"].dtype)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step and what is carried."""
        return group["lr"], group["lambd"], group["alpha"], group["t0"]
