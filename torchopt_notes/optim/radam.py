"""Adam that waits until its denominator can be trusted: :class:`RAdam`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, add_number, addcmul_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar


class RAdamScalars(NamedTuple):
    """What the rule multiplies with at one step. ``rect`` is 0 while the denominator is left out."""

    lr: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    bias_correction1: Scalar
    bias_correction2_sqrt: Scalar
    rect: Scalar
    eps: Scalar


def radam(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: RAdamScalars, flags: tuple[()]) -> None:
    """Adam's averages; the step is along the first, and once there is a ``rect``, divided by the second's root."""
    exp_avg, exp_avg_sq = state
    lerp_(exp_avg, grad, h.weight1)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    del grad
    step = (exp_avg / h.bias_correction1) * h.lr
    if isinstance(h.rect, Tensor):
        scale = h.rect * h.bias_correction2_sqrt / (exp_avg_sq.sqrt() + h.eps)
        step = step * torch.where(h.rect > 0, scale, 1.0)
    elif h.rect > 0:
        # In the order in which torch rounds.
        step = step * (h.bias_correction2_sqrt / add_number(exp_avg_sq.sqrt(), h.eps)) * h.rect
    add_(param, step, -1.0)


def radam_scalars(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, corrected: float
) -> RAdamScalars:
    """The rectification, which depends on the step alone. ``corrected`` is 1, or 0 to leave the averages' bias."""
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * (beta2**step) / (1 - beta2**step)
    return RAdamScalars(
        lr=lr,
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        bias_correction1=1 - corrected * beta1**step,
        bias_correction2_sqrt=(1 - corrected * beta2**step) ** 0.5,
        rect=_rectification(rho, rho_inf),
        eps=eps,
    )


def _rectification(rho: Scalar, rho_inf: Scalar) -> Scalar:
    """r of the docstring below, or 0 where ρ is too small for it. Never 0 where it is not."""
    if not isinstance(rho, Tensor) and rho <= 5:
        return 0.0
    square: Scalar = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    if isinstance(rho, Tensor):
        square = torch.where(rho > 5, square, 0.0)
    root: Scalar = square**0.5
    return root


class RAdam(Optimizer):
    r"""RAdam: Adam whose steps go along the plain average until the denominator's variance is bounded.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, & \hat m_t &= m_t / (1 - \beta_1^t) \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, & \hat v_t &= v_t / (1 - \beta_2^t) \\
        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, & \rho_t &= \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t} \\
        r_t &= \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}} \\
        w_t &= w_{t-1} - \eta \, \hat m_t \cdot
            \begin{cases} r_t / (\sqrt{\hat v_t} + \hat\epsilon_t) & \rho_t > 5 \\ 1 & \text{otherwise} \end{cases}

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}` and :math:`\hat\epsilon_t = \epsilon / \sqrt{1 -
    \beta_2^t}`, that is, ε is added to :math:`\sqrt{v_t}`. ρ is how many gradients the second average
    covers. With the default β₂ it exceeds 5 from the sixth step on; with β₂ ≤ 2/3 it never does. Before that the steps
    are those of gradient descent with momentum, so η is then a factor on the gradient and not the size of a step. A
    drop-in for :class:`torch.optim.RAdam`: same arguments, group keys and state keys, and on the eager backend the same
    bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module.
        lr: learning rate η, per step: about the size of one step of any weight once ρ > 5. Default 1e-3, Adam's.
        betas: decay rates of the two averages, each in [0, 1). Default (0.9, 0.999), Adam's.
        eps: added to the root of v, outside of it. Default 1e-8, Adam's.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled). Default 0.
        decoupled_weight_decay: multiply the weight by 1 - η·λ before the step instead. Default False.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        bias_correction: divide the averages by 1 - βᵗ. ``False`` leaves them biased towards their start at zero; ρ and
            r stay as they are. Default True.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq``, shaped like the parameter.

    Raises:
        ValueError: for a value out of range; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.RAdam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.8

    Source: Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv 1908.03265; the
    threshold of 5 is that of the authors' code and of torch (the paper's is 4).
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.RAdam
    rule: ClassVar[Rule] = Rule(radam, radam_scalars, kernel="radam", real_transform=True)

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
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

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq")

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"], float(option(group, "bias_correction"))
