"""Second moments kept as one number per row and one per column: :class:`Adafactor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..engine import checks
from ..engine.arithmetic import add_, along, lerp_, mean_squares, norm, settled
from ..engine.layout import state_shape
from ..engine.optimizer import Optimizer
from ..engine.options import EngineOptions, unusual
from ..engine.rule import Decay, Norms, Rule, Scalar, Variant
from ..engine.scalars import penalty


class AdafactorScalars(NamedTuple):
    """What the rule multiplies with at one step."""

    weight: Scalar
    rho: Scalar
    decay: Scalar
    eps1: Scalar
    eps2: Scalar
    d: Scalar


class AdafactorFlags(NamedTuple):
    """The choices that change the code. ``eps_of`` names the dtype whose ε stands for ε₁, or is empty."""

    decay: bool
    eps_of: str


def adafactor(param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdafactorScalars, flags: AdafactorFlags) -> None:
    """Algorithm 4 of Shazeer and Stern for vectors, which are not factored: v ← v + weight·(g² - v)."""
    (variance,) = state
    lerp_(variance, grad * grad, h.weight)
    eps1 = _eps1(h, flags)
    # ε₁ squared: its size is meant for the root.
    _apply(param, grad, variance.clamp(min=eps1 * eps1).rsqrt_(), h, flags)


def adafactor_factored(
    param: Tensor, grad: Tensor, state: Sequence[Tensor], h: AdafactorScalars, flags: AdafactorFlags
) -> None:
    """Algorithm 4 of Shazeer and Stern for matrices: the means over rows and columns stand for the second moment."""
    row_var, col_var = state
    rows, columns = mean_squares(grad)
    lerp_(row_var, rows, h.weight)
    lerp_(col_var, columns, h.weight)
    eps1 = _eps1(h, flags)
    mean = settled(row_var.mean(dim=-2, keepdim=True).clamp_(min=eps1))
    if torch.compiler.is_compiling():
        # The same from one root per row and column rather than per element, which would take longer than the memory.
        inverse_root = (settled((row_var / mean).rsqrt()) * settled(col_var.rsqrt())).clamp(max=1 / eps1)
    else:
        inverse_root = (row_var * col_var).div_(mean).clamp_(min=eps1 * eps1).rsqrt_()
    _apply(param, grad, inverse_root, h, flags)


def _apply(param: Tensor, grad: Tensor, inverse_root: Tensor, h: AdafactorScalars, flags: AdafactorFlags) -> None:
    """A step of α·u/max(1, RMS(u)/d) along u = g/√v, with α in proportion to RMS(w). Overwrites ``inverse_root``."""
    update = inverse_root * grad if inverse_root.requires_grad else inverse_root.mul_(grad)
    alpha = _larger(_root_mean_square(along(param, update), h), h.eps2) * h.rho
    if flags.decay:
        param.mul_(h.decay)
    add_(param, update, settled(-alpha / _larger(_root_mean_square(update, h, h.d), 1.0)))


def _eps1(h: AdafactorScalars, flags: AdafactorFlags) -> Scalar:
    return torch.finfo(getattr(torch, flags.eps_of)).eps if flags.eps_of else h.eps1


def _root_mean_square(x: Tensor, h: AdafactorScalars, unit: Scalar | None = None) -> Scalar:
    """In units of ``unit``, rounded as in torch, which multiplies that with the root of the count. A number where the
    host holds ``x`` and all else, as in torch; otherwise a 0-d tensor that nobody waits for.
    """
    root: Scalar = x.numel() ** 0.5
    if unit is not None:
        root = root * unit
    if isinstance(h.rho, Tensor) or x.device.type != "cpu":
        return norm(x.detach()) / root
    total: Tensor = torch.linalg.vector_norm(x.detach())
    return total.item() / root


def _larger(x: Scalar, least: Scalar) -> Scalar:
    """max(least, x). A NaN gives ``least``, as in torch: it marks its own elements, not all of a tensor."""
    if isinstance(x, Tensor):
        return torch.where(x > least, x, least)
    return x if x > least else least


def adafactor_scalars(
    step: Scalar,
    lr: Scalar,
    beta2_decay: Scalar,
    eps1: Scalar,
    eps2: Scalar,
    d: Scalar,
    weight_decay: Scalar,
) -> AdafactorScalars:
    """The weight 1 - β₂ₜ of a new gradient falls like t^(-0.8), and the learning rate is capped by 1/√t."""
    cap = 1 / step**0.5
    if isinstance(lr, Tensor):
        rho: Scalar = torch.clamp(lr.double(), max=cap)
    else:
        rho = torch.clamp(cap, max=lr) if isinstance(cap, Tensor) else min(lr, cap)
    return AdafactorScalars(step**beta2_decay, rho, 1 - lr * weight_decay, eps1, eps2, d)


VECTOR = Rule(
    adafactor,
    adafactor_scalars,
    kernel="adafactor",
    norms=Norms(2, 1, measured=("param", "grad", "variance"), updated=("param", "grad", "variance"), advances=True),
)
MATRIX = Rule(
    adafactor_factored,
    adafactor_scalars,
    kernel="adafactor_factored",
    norms=Norms(2, 1, measured=("param", "grad"), updated=("param", "grad")),
    layouts=(("row_var", "row"), ("col_var", "column")),
)


class Adafactor(Optimizer):
    r"""Adafactor: Adam's denominator from one number per row and one per column, and steps relative to the weights.

    .. math::
        R_t &= R_{t-1} + t^{\gamma} \, (\operatorname{mean}_{\mathrm{col}} g_t^2 - R_{t-1}), \qquad
            C_t = C_{t-1} + t^{\gamma} \, (\operatorname{mean}_{\mathrm{row}} g_t^2 - C_{t-1}) \\
        \hat v_t &= R_t C_t / \max(\operatorname{mean} R_t, \epsilon_1), \qquad
            u_t = g_t / \sqrt{\max(\hat v_t, \epsilon_1^2)} \\
        \alpha_t &= \max(\epsilon_2, \mathrm{RMS}(w_{t-1})) \, \min(\eta, 1 / \sqrt t) \\
        w_t &= (1 - \eta \lambda) \, w_{t-1} - \alpha_t \, u_t / \max(1, \mathrm{RMS}(u_t) / d)

    over the last two dimensions; vectors keep their whole second moment. A drop-in for :class:`torch.optim.Adafactor`:
    same arguments, group keys and state keys, and on the eager backend the same bits.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module. Real ones only.
        lr: learning rate η: a step is at most η times the root mean square of the tensor's weights. Default 1e-2, as
            torch and the paper.
        beta2_decay: γ ≤ 0. Default -0.8, the paper's.
        eps: (ε₁, ε₂), both ≥ 0. ε₁ = None is the machine epsilon of the parameter's dtype. Default (None, 1e-3).
        d: the root mean square above which an update is scaled down, ≥ 1. Default 1.0, the paper's.
        weight_decay: λ ≥ 0; a step multiplies each weight by 1 - η·λ. Default 0.
        foreach: accepted for compatibility and kept in the group; the backend alone decides how tensors are batched.
        maximize: ascend instead of descend.
        capturable: keep step counts on the device, so that the step can be captured in a CUDA graph.
        differentiable: let autograd record the step (eager backend only); norms count as constants.
        fused: ``True`` demands the fused backend of the parameters' device (Triton on GPUs, the compiler on CPU) and
            raises where it is missing. ``None`` and ``False`` demand nothing.
        decoupled_weight_decay: ``False`` adds λ·w to the gradient instead (coupled). Default True, as torch.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``; see :meth:`Optimizer.explain`.
        options: ``max_grad_norm``, ``skip_nonfinite``, ``l1`` and others; see :class:`.EngineOptions`.

    State: ``step`` (0-d); for tensors with two dimensions or more ``row_var`` and ``col_var``, with size 1 in the last
    and the last but one dimension; for others ``variance``, shaped like the parameter.

    Raises:
        ValueError: for a value out of range or a complex parameter; the message says what is allowed.
        RuntimeError: ``fused`` with ``differentiable`` or ``foreach``; a backend that is demanded but missing; sparse
            gradients.

    Example:
        >>> import torch, torchopt_notes
        >>> w = torch.nn.Parameter(torch.tensor([[1.0, 1.0]]))
        >>> opt = torchopt_notes.Adafactor([w], lr=0.1)
        >>> w.grad = torch.tensor([[2.0, 2.0]])
        >>> opt.step()
        >>> [[round(x, 4) for x in row] for row in w.tolist()]
        [[0.9, 0.9]]

    Source: Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arXiv 1804.04235.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = torch.optim.Adafactor
    unsupported: ClassVar[Mapping[str, str]] = {"complex": "rows and columns of squares have no complex counterpart"}
    rule: ClassVar[Rule] = VECTOR

    def __init__(
        self,
        params: ParamsT | torch.nn.Module,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = True,
        **options: Unpack[EngineOptions],
    ) -> None:
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            **unusual(capturable=capturable, differentiable=differentiable, fused=fused),
            **({} if decoupled_weight_decay else {"decoupled_weight_decay": False}),
        }
        super().__init__(params, defaults, **options)

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a hyperparameter of ``group`` is out of range."""
        name = cls.__name__
        checks.learning_rate(name, group["lr"], torch_text="Learning rate should be >= 0 but is")
        checks.in_range(
            name, "beta2_decay", group["beta2_decay"], most=0, torch_text="beta2_decay should be <= 0 but is"
        )
        if not (isinstance(group["eps"], Sequence) and len(group["eps"]) == 2):
            raise ValueError(f"{name}: eps must be a pair of (None or a number, a number), got {group['eps']!r}")
        eps1, eps2 = group["eps"]
        if eps1 is not None:
            checks.non_negative(name, "eps[0]", eps1, "epsilon1 should be >= 0 but is")
        checks.non_negative(name, "eps[1]", eps2, "epsilon2 should be >= 0 but is")
        checks.in_range(name, "d", group["d"], least=1, torch_text="Clipping threshold d should be >= 1 but is")
        checks.non_negative(name, "weight_decay", group["weight_decay"], "weight_decay should be >= 0 but is")

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them."""
        return ("row_var", "col_var") if param.dim() > 1 else ("variance",)

    def new_state(self, name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        """Zeros; means over rows and columns keep the dimension that they were taken along, with size 1."""
        if name == "variance":
            return super().new_state(name, group, param)
        return param.new_zeros(state_shape(param.shape, MATRIX.layout(name)))

    def decay(self, group: dict[str, Any]) -> Decay:
        """The decoupled form is the rule's own: the weights are measured before it."""
        form = super().decay(group)
        return "none" if form == "decoupled" else form

    @classmethod
    def is_decoupled(cls, group: dict[str, Any]) -> bool:
        """Decoupled unless the group says otherwise: torch's groups have no word for it."""
        return bool(group.get("decoupled_weight_decay", True))

    def flags(self, group: dict[str, Any]) -> AdafactorFlags:
        """The choices that change the code, but for the dtype's ε."""
        return AdafactorFlags(decay=super().decay(group) == "decoupled", eps_of="")

    def param_variant(self, variant: Variant, group: dict[str, Any], param: Tensor) -> Variant:
        """Matrices are factored, and the default ε₁ is that of the parameter's dtype."""
        eps_of = str(param.dtype).removeprefix("torch.") if group["eps"][0] is None else ""
        flags = AdafactorFlags(*variant.flags)._replace(eps_of=eps_of)
        return variant._replace(rule=MATRIX if param.dim() > 1 else VECTOR, flags=flags)

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """The arguments of the rule's ``scalars`` after the step."""
        eps1, eps2 = group["eps"]
        return group["lr"], group["beta2_decay"], eps1 or 0.0, eps2, group["d"], penalty(group, "weight_decay")
