"""Adaptive moments: :class:`Adam` and :class:`AdamW`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import addcdiv_, addcmul_, lerp_
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, option, unusual
from ..engine.rule import Rule, Scalar


class AdamScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    step_size: Scalar
    weight1: Scalar
    beta2: Scalar
    weight2: Scalar
    bias_correction2_sqrt: Scalar
    eps: Scalar


class AdamFlags(NamedTuple):
    """The choices that change the code."""

    amsgrad: bool
    differentiable: bool


def adam(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdamScalars, flags: AdamFlags) -> None:
    """Algorithm 1 of Kingma and Ba, with the bias corrections folded into the step size and the denominator."""
    exp_avg, exp_avg_sq = state[:2]
    lerp_(exp_avg, grad, h.weight1)
    addcmul_(exp_avg_sq.mul_(h.beta2), grad, grad, h.weight2)
    del grad  # a transformed gradient is ours, and the denominator can have its memory
    second_moment = exp_avg_sq
    if flags.amsgrad:
        # Autograd needs the operands as they are now; both change in place at the next step.
        past, new = (state[2].clone(), exp_avg_sq.clone()) if flags.differentiable else (state[2], exp_avg_sq)
        second_moment = state[2].copy_(torch.maximum(past, new))
    if flags.differentiable:
        # torch divides the denominator by the step size here, and autograd needs the average as it is now.
        denom = (second_moment.sqrt() / (h.bias_correction2_sqrt * -h.step_size)).add_(h.eps / -h.step_size)
        param.addcdiv_(exp_avg.clone(), denom)
    else:
        denom = second_moment.sqrt().div_(h.bias_correction2_sqrt).add_(h.eps)
        addcdiv_(param, exp_avg, denom, -h.step_size)


def adam_scalars(step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, eps: Scalar, corrected: float) -> AdamScalars:
    """1 - β is taken here, in double precision, where it loses nothing. ``corrected`` is 1, or 0 to leave the bias."""
    bias_correction1 = 1 - corrected * beta1**step
    bias_correction2 = 1 - corrected * beta2**step
    return AdamScalars(
        step_size=lr / bias_correction1,
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        bias_correction2_sqrt=bias_correction2**0.5,
        eps=eps,
    )


def _scalar(beta: float | Tensor) -> float | Tensor:
    return beta.squeeze() if isinstance(beta, Tensor) else beta


class Adam(Optimizer):
    r"""Adam: steps along the mean of past gradients, divided by the root of the mean of their squares.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, & \hat m_t &= m_t / (1 - \beta_1^t) \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, & \hat v_t &= v_t / (1 - \beta_2^t) \\
        w_t &= w_{t-1} - \eta \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    with :math:`g_t = \nabla f_t(w_{t-1}) + \lambda w_{t-1}`. With ``amsgrad`` the largest :math:`v` so far takes the
    place of :math:`v_t` in the last line. A drop-in for :class:`torch.optim.Adam`: same arguments, group keys and
    state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, or dicts of parameter groups.
        lr: learning rate η, per step: about the size of one step of any weight. Default 1e-3, the paper's.
        betas: decay rates of the two averages, each in [0, 1); both floats or both 1-element tensors. Default
            (0.9, 0.999), the paper's.
        eps: added to the root, outside of it. Default 1e-8, the paper's.
        weight_decay: λ ≥ 0, added to the gradient as λ·w (coupled: the denominator divides it too). Default 0.
        amsgrad: use the largest second moment so far (Reddi et al. 2018).
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        capturable: keep step counts on the device and work out everything that follows from them there, so that the
            step can be captured in a CUDA graph.
        differentiable: let autograd record the step (eager backend only).
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: multiply the weight by 1 - lr·λ instead, which is :class:`AdamW`.
        bias_correction: divide the averages by 1 - βᵗ, as the paper does. ``False`` leaves them biased towards
            their start at zero, as some texts write Adam. Default True.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d), ``exp_avg``, ``exp_avg_sq`` and with amsgrad ``max_exp_avg_sq``, shaped like the parameter.

    Raises:
        ValueError: for a value out of range or flags that exclude each other; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.Adam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        0.9

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980; Reddi et al. 2018, "On
    the Convergence of Adam and Beyond".
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Adam
    rule: ClassVar[Rule] = Rule(adam, adam_scalars, kernel="adam", differentiable_step=True)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        bias_correction: bool = True,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(map(_scalar, betas)) if isinstance(betas, (tuple, list)) else betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            **unusual(bias_correction=bias_correction),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        name = cls.__name__
        eager_foreach = bool(group["foreach"]) and not group["capturable"]
        checks.learning_rate(name, group["lr"], foreach=eager_foreach)
        checks.non_negative(name, "eps", group["eps"], "Invalid epsilon value")
        checks.betas(name, group["betas"], foreach=eager_foreach)
        checks.non_negative(name, "weight_decay", group["weight_decay"], "Invalid weight_decay value")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def flags(self, group: dict[str, Any]) -> AdamFlags:
        """The choices that change the code."""
        return AdamFlags(amsgrad=bool(group["amsgrad"]), differentiable=bool(group["differentiable"]))

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        return group["lr"], *group["betas"], group["eps"], float(option(group, "bias_correction"))


class AdamW(Adam):
    r"""Adam with decoupled weight decay: :math:`w \leftarrow (1 - \eta \lambda) \, w` before each Adam step.

    The decay does not pass through the moments, so the denominator does not weaken it where gradients are large. It is
    multiplied by the learning rate. A drop-in for :class:`torch.optim.AdamW`: same arguments, group keys and state
    keys, and on the eager backend the same bits.

    Args:
        params, lr, betas, eps, amsgrad, maximize, foreach, capturable, differentiable, fused, bias_correction,
            backend: as for :class:`Adam`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - lr·λ. Default 1e-2, as torch.

    State, Raises: as :class:`Adam`.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torchopt_notes.AdamW([w], lr=0.1, weight_decay=0.5)
        >>> w.grad = torch.zeros(1)
        >>> opt.step()
        >>> round(w.item(), 6)
        0.95

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
    """

    counterpart = torch.optim.AdamW

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        bias_correction: bool = True,
        **options: Unpack[EngineOptions],
    ) -> None:
        if "decoupled_weight_decay" in options:
            raise TypeError(f"{type(self).__name__} takes no decoupled_weight_decay: its decay always is")
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            bias_correction=bias_correction,
            **options,
        )

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range, or its decay is to be coupled."""
        super().check_group(group)
        if not option(group, "decoupled_weight_decay"):
            raise ValueError(f"{cls.__name__}: decoupled_weight_decay=False is Adam; use torchopt_notes.Adam")

    def fill_group(self, group: dict[str, Any]) -> None:
        """Adds the keys that checkpoints of older versions lack; AdamW's decay is decoupled whatever they say."""
        super().fill_group(group)
        group["decoupled_weight_decay"] = True
