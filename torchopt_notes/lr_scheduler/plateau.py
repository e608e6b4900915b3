"""``ReduceLROnPlateau``."""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat

from torch.optim import Optimizer

from ..schedules import ReduceOnPlateau


class ReduceLROnPlateau(ReduceOnPlateau):
    """``torch.optim.lr_scheduler.ReduceLROnPlateau`` over :class:`~torchopt_notes.schedules.ReduceOnPlateau`.

    >>> import torch, torchopt_notes as optim
    >>> optimizer = optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    >>> scheduler.step(1.0); scheduler.step(1.0); scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(
            optimizer,
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            cooldown=cooldown,
            min=min_lr,
            eps=eps,
        )

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Takes the metric of a validation. NaN is no better than the best, as with torch."""
        super(ReduceOnPlateau, self).step(metrics, epoch)

    def state_dict(self) -> dict[str, Any]:
        """As torch's, and ``values``, the present learning rates."""
        state = super().state_dict()
        return state | {"_last_lr": state["values"]["lr"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state of this class or of torch's; that has no values, so that the optimizer's count."""
        state = dict(state_dict)
        # torch's carries along those of a state that it was given, and makes others.
        if state.get("values", {}).get("lr") != state.get("_last_lr"):
            state.pop("values", None)
        super().load_state_dict(state)
