"""What a subclass says about itself: its rule, and how a parameter group maps onto it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from . import checks
from .gradients import GradientControl
from .options import option
from .rule import Decay, Scalar, Transform, Variant
from .transform import decay_form, l1_form


class RuledOptimizer(GradientControl):
    """The questions that the engine asks a subclass, with the usual answers.

    Attributes:
        counterpart: the ``torch.optim`` class that this one takes the place of, if there is one.
        aliases: further names under which ``create_optimizer`` knows the class, with the arguments that they stand for.
        unsupported: options, ``"complex"`` or ``"sparse"`` that have no meaning for this rule, with the reason. Asking
            for such an option raises.
    """

    counterpart: ClassVar[type[torch.optim.Optimizer] | None] = None
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    unsupported: ClassVar[Mapping[str, str]] = {}

    def flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """The rule's compile-time choices: a named tuple of plain values, or nothing.

        They follow from the group's options alone, and not from lr: while those are the same, nobody asks again.
        """
        return ()

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """What the rule's ``scalars`` takes after the step: floats or 1-element tensors; from the group alone."""
        raise NotImplementedError

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a value of ``group`` is not allowed: here, the learning rate and decay that all have."""
        name = cls.__name__
        checks.learning_rate(name, group["lr"])
        checks.non_negative(name, "weight_decay", option(group, "weight_decay"), "Invalid weight_decay value")

    def refuses_sparse(self, group: dict[str, Any]) -> str | None:
        """Why sparse gradients are not taken, or None."""
        return "does not support sparse gradients, please consider SparseAdam instead"

    def variant(self, group: dict[str, Any]) -> Variant:
        """The choices in ``group`` that change the code."""
        guarded = self.may_skip and not self.decided_on_host
        transform = Transform(
            guarded=guarded,
            scaled=self.scales_gradients,
            adaptive=group.get("adaptive_clip") is not None,
            clamped=group.get("max_grad_value") is not None,
            maximize=bool(group.get("maximize")),
            decay=self.decay(group),
            l1=l1_form(group, decoupled=self.is_decoupled(group)),
        )
        return Variant(
            rule=self.group_rule(group),
            flags=self.flags(group),
            transform=transform,
            differentiable=bool(group.get("differentiable")),
            on_device=bool(group.get("capturable")) or guarded,
            fused=bool(group.get("fused")),
        )

    @classmethod
    def is_decoupled(cls, group: dict[str, Any]) -> bool:
        """Whether the weight decay of ``group`` acts on the weights, rather than through their gradient."""
        return bool(group.get("decoupled_weight_decay"))

    def decay(self, group: dict[str, Any]) -> Decay:
        """How the transform decays the weights of ``group``; none if the rule does it, inside of a norm."""
        return decay_form(group, decoupled=self.is_decoupled(group))

    def param_variant(self, variant: Variant, group: dict[str, Any], param: Tensor) -> Variant:
        """The variant for one parameter of ``group``, where its shape decides about the rule too."""
        return variant
