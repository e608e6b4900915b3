"""Adam with Nesterov's look-ahead: :class:`NAdam`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_number, addcdiv_, addcmul_, lerp_, number
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar


class NAdamScalars(NamedTuple):
    """The carried product of the momentum coefficients, and what the rule multiplies with at one step."""

    mu_product: Scalar
    grad_size: Scalar
    average_size: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    bias_correction2: Scalar
    eps: Scalar


class NAdamFlags(NamedTuple):
    """The choices that change the code."""

    differentiable: bool


def nadam(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: NAdamScalars, flags: NAdamFlags) -> None:
    """Adam's averages; the step is along the gradient and the average, each with its own corrected size."""
    exp_avg, exp_avg_sq = state
    lerp_(exp_avg, grad, h.weight1)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    denom = add_number(exp_avg_sq.div(h.bias_correction2).sqrt(), h.eps)
    if flags.differentiable:
        # As torch rounds where autograd follows.
        param.addcdiv_(grad * -h.grad_size, denom).addcdiv_(exp_avg * -h.average_size, denom)
    else:
        addcdiv_(addcdiv_(param, grad, denom, -h.grad_size), exp_avg, denom, -h.average_size)


def nadam_scalars(
    step: Scalar,
    mu_product: Scalar,
    lr: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    eps: Scalar,
    momentum_decay: Scalar,
    corrected: float,
) -> NAdamScalars:
    """The momentum coefficient rises from β₁/2 to β₁. ``corrected`` is 1, or 0 to leave the averages' bias."""
    mu = beta1 * (1.0 - 0.5 * (0.96 ** (step * momentum_decay)))
    mu_next = beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * momentum_decay)))
    mu_product = mu_product * mu
    product = corrected * number(mu_product)
    return NAdamScalars(
        mu_product,
        grad_size=lr * (1.0 - mu) / (1.0 - product),
        average_size=lr * mu_next / (1.0 - product * mu_next),
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        bias_correction2=1 - corrected * beta2**step,
        eps=eps,
    )


class NAdam(Optimizer):
    r"""NAdam: Adam whose momentum looks ahead, as Nesterov's does, with a coefficient that warms up.

    .. math::
        \mu_t &= \beta_1 (1 - \tfrac12 \, 0.96^{t \psi}) \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
            \hat m_t = \frac{\mu_{t+1} m_t}{1 - \prod_{i=1}^{t+1} \mu_i}
                + \frac{(1 - \mu_t) g_t}{1 - \prod_{i=1}^{t} \mu_i} \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad \hat v_t = v_t / (1 - \beta_2^t) \\
        w_t &= w_{t-1} - \eta \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. A drop-in for :class:`torch.optim.NAdam`: same arguments,
    group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight. Default 2e-3, as torch.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.999), Adam's.
        eps: added to the root, outside of it. Default 1e-8, Adam's.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        momentum_decay: ψ ≥ 0, how fast μ warms up. Default 4e-3, the paper's.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead. Default False.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        bias_correction: divide by one minus the products above. ``False`` leaves the averages biased towards their
            start at zero. Default True.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` and ``mu_product`` (0-d), ``exp_avg`` and ``exp_avg_sq``, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.NAdam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 4)
        0.8944

    Source: Dozat 2016, "Incorporating Nesterov Momentum into Adam".
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.NAdam
    rule: ClassVar[Rule] = Rule(nadam, nadam_scalars, kernel="nadam", real_transform=True, carried=("mu_product",))

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        bias_correction: bool = True,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            **unusual(fused=fused, bias_correction=bias_correction),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        super().check_group(group)
        name = cls.__name__
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")
        checks.betas(name, group["betas"])
        checks.non_negative(name, "momentum_decay", group["momentum_decay"], "Invalid momentum_decay value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def new_count(self, name: str, group: dict[str, Any]) -> float:
        """An empty product is 1."""
        return 1.0 if name == "mu_product" else 0.0

    def flags(self, group: dict[str, Any]) -> NAdamFlags:
        """The choices that change the code."""
        return NAdamFlags(differentiable=bool(group["differentiable"]))

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step and what is carried."""
        corrected = float(option(group, "bias_correction"))
        return group["lr"], *group["betas"], group["eps"], group["momentum_decay"], corrected
