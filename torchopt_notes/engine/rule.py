"""What the engine must know about one optimizer: its rule, and the choices that change its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_type_hints

from torch import Tensor

Scalar: TypeAlias = float | Tensor
"""A hyperparameter, or what follows from one: a Python float, or a 0-d tensor."""

Decay: TypeAlias = Literal["none", "coupled", "decoupled", "cautious"]
"""How weight decay acts: added to the gradient, a multiple of the weight, or that where the update agrees with it."""

L1: TypeAlias = Literal["none", "coupled", "decoupled"]
"""How an L1 penalty acts: added to the gradient, or as a soft threshold after the update."""


class EagerRule(Protocol):
    """The reference: updates ``param`` and ``state`` in place with torch operations that read like the paper.

    Args:
        param: the parameter.
        grad: the transformed gradient (sign and coupled decay applied). The rule may ``del`` it to free memory.
        state: the state tensors, in the order of ``Optimizer.state_names``.
        scalars: what :attr:`Rule.scalars` returned; floats, or 0-d tensors under ``torch.compile``.
        flags: what ``Optimizer.flags`` returned; plain Python values.
    """

    def __call__(self, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Any, flags: Any, /) -> None: ...


Layout: TypeAlias = Literal["scalar", "row", "column"]
"""The shape of a state that is not its parameter's: 0-d, one number per row, or one per column of the last two
dimensions (which are kept, with size 1, as ``keepdim=True`` does)."""


@dataclass(frozen=True)
class Norms:
    """How a rule that looks at whole tensors runs as kernels: one pass measures, a second one updates.

    Attributes:
        sums: how many sums over a tensor's elements the kernel module's ``measure`` contributes to.
        numbers: how many numbers per tensor its ``finish`` makes of them. The update takes them after the scalars.
        advances: whether its ``advance`` renews the states before anything is measured. States in compute precision
            are then stored by the first pass, so that the second one need not read the gradient again.
        measured, updated: what the two passes read: ``"param"``, ``"grad"`` and state names. What an early ``advance``
            needs is read besides.
    """

    sums: int
    numbers: int
    measured: tuple[str, ...]
    updated: tuple[str, ...]
    advances: bool = False


@dataclass(frozen=True)
class Rule:
    """One optimizer's mathematics.

    Attributes:
        eager: the reference.
        scalars: ``(step, *carried, *hyper) -> NamedTuple``. Everything that depends on the hyperparameters and the step
            alone, worked out once per step in double precision, outside the rule. Takes floats or tensors alike.
        kernel: the module of :mod:`torchopt_notes.kernels` that spells both again in Triton, as ``update`` and
            ``scalars``; a layer-wise rule's ``update`` comes with ``measure``, ``finish`` and perhaps ``advance``.
        complex_native: whether the reference runs on complex tensors as they are (a linear rule may, and torch does
            so for SGD). Otherwise it gets them as pairs of reals.
        real_transform: whether the gradient transform runs on pairs of reals too: torch rounds a coupled decay of
            complex numbers before or after it has split them, depending on the optimizer.
        carried: names of 0-d states that ``scalars`` takes from the step before, such as a running product. Its first
            results, in this order, are their new values.
        differentiable_step: whether ``scalars`` gets the step as a tensor where autograd follows, which is how torch
            rounds Adam's bias corrections there.
        norms: how a rule that looks at whole tensors is run, or None for one that looks at each element alone.
        layouts: the states that are not shaped like the parameter.
    """

    eager: EagerRule
    scalars: Callable[..., tuple[Scalar, ...]]
    kernel: str
    complex_native: bool = False
    real_transform: bool = False
    carried: tuple[str, ...] = ()
    differentiable_step: bool = False
    norms: Norms | None = None
    layouts: tuple[tuple[str, Layout], ...] = ()

    @cached_property
    def span(self) -> Literal["element", "tensor", "matrix"]:
        """What the update of one element depends on: its own numbers, its whole tensor, or its rows and columns too."""
        if any(layout != "scalar" for _, layout in self.layouts):
            return "matrix"
        return "element" if self.norms is None else "tensor"

    def layout(self, state: str) -> Layout | None:
        """The shape of a state, or None for the parameter's."""
        return dict(self.layouts).get(state)

    @cached_property
    def scalar_names(self) -> tuple[str, ...]:
        """The names of what :attr:`scalars` returns."""
        names: tuple[str, ...] = self.scalar_type._fields  # type: ignore[attr-defined]
        return names

    @cached_property
    def scalar_type(self) -> type[tuple[Any, ...]]:
        """The named tuple that :attr:`scalars` returns."""
        found: type[tuple[Any, ...]] = get_type_hints(self.scalars)["return"]
        return found


class Transform(NamedTuple):
    """The choices about what happens to gradient and parameter around the rule, in the order in which it happens.

    Attributes:
        guarded: the step may turn out, on the device, to be one that changes nothing.
        scaled: the gradient is multiplied by a number that all gradients share: loss scale, clipping by norm.
        adaptive: each unit's gradient is clipped by the size of its weights.
        clamped: the gradient is clipped element by element.
        maximize: the gradient's sign is turned.
        decay: how weight decay acts.
        l1: how the L1 penalty acts.
    """

    guarded: bool = False
    scaled: bool = False
    adaptive: bool = False
    clamped: bool = False
    maximize: bool = False
    decay: Decay = "none"
    l1: L1 = "none"


class Variant(NamedTuple):
    """The choices of a parameter group that change the code, or who runs it. Compared at every step.

    Attributes:
        rule: the mathematics.
        flags: the rule's own choices.
        transform: what happens around the rule.
        differentiable: autograd follows the step.
        on_device: step counts live on the parameter's device and are never read by the host (``capturable``, or a
            step that only the device knows to be skipped).
        fused: the group demands the fused backend.
    """

    rule: Rule
    flags: tuple[Any, ...]
    transform: Transform
    differentiable: bool
    on_device: bool
    fused: bool

    def without_decay(self) -> Variant:
        """The variant for a parameter that is exempt from weight decay and L1 penalty."""
        return self._replace(transform=self.transform._replace(decay="none", l1="none"))
