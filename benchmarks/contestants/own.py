"""This package's forms, and torch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchopt_notes.optim.registry import optimizers

from .contestant import MOST_COMPILED, Contestant, Entry

OURS = Contestant(
    "ours",
    "torchopt-notes",
    "torchopt_notes",
    {name: Entry(cls.__name__) for name, cls in optimizers().items()},
)
EAGER = Contestant(
    "ours eager",
    "torchopt-notes",
    "torchopt_notes",
    {name: Entry(cls.__name__, fixed={"backend": "eager"}) for name, cls in optimizers().items()},
    by_name=True,
)

_COUNTERPARTS = {name: cls.counterpart.__name__ for name, cls in optimizers().items() if cls.counterpart is not None}
_FOREACH = {name: cls for name, cls in _COUNTERPARTS.items() if name != "sparseadam"}
_FUSED = {name: cls for name, cls in _COUNTERPARTS.items() if name in ("adam", "adamw", "sgd", "momentum", "adagrad")}


def _torch(name: str, classes: Mapping[str, str], fixed: Mapping[str, Any], **more: Any) -> Contestant:
    return Contestant(
        name, "torch", "torch.optim", {key: Entry(cls, fixed=fixed) for key, cls in classes.items()}, **more
    )


TORCH = (
    _torch("torch default", _COUNTERPARTS, {}),
    _torch("torch for-loop", _FOREACH, {"foreach": False}, left_out={"cpu": "is torch's default on a CPU"}),
    _torch("torch foreach", _FOREACH, {"foreach": True}),
    _torch("torch fused", _FUSED, {"fused": True}),
    _torch("torch foreach compiled", _FOREACH, {"foreach": True}, compiled=True, most_tensors=MOST_COMPILED),
)
YARDSTICK = Contestant(
    "AdamW of torch, fused",
    "torch",
    "torch.optim",
    {name: Entry("AdamW", fixed={"fused": True}, only=()) for name in optimizers()},
    yardstick=True,
)
"""Beside every optimizer on one large tensor: how many bytes per second a good kernel moves at that moment."""
