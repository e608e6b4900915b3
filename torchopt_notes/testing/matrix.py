"""Which optimizer takes what on which backend, derived from the classes.

``python -m torchopt_notes.testing.matrix`` prints the page that is committed as ``docs/optimizers.md``. The tests
construct and step every cell: one that says yes must work, one that says no must raise.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import torch

from ..engine.backends import Backend
from ..engine.optimizer import Optimizer
from ..engine.rule import Decay
from ..engine.transform import decay_form
from ..optim.registry import description, optimizers, own_aliases

BACKENDS: tuple[Backend, ...] = ("eager", "compiled", "triton")
LR = 0.1
DECAY = 0.5


@dataclass(frozen=True)
class Feature:
    """Something that may be asked of an optimizer.

    Attributes:
        name: the column's title.
        options: the arguments that ask for it.
        unsupported: under which names a class may declare in ``Optimizer.unsupported`` that it has no meaning there.
        dtype: of parameters and gradients.
        sparse: whether gradients are sparse.
        decay: the form of weight decay, or of an L1 penalty, that is asked for.
        grad_scale: what gradients are multiplied with, and the optimizer is told so as by ``torch.amp.GradScaler``.
        changes: whether the result must differ from that of a step without the feature, or must not; None if the two
            cannot be compared.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32
    sparse: bool = False
    decay: Decay | None = None
    grad_scale: float | None = None
    changes: bool | None = None


def _option(name: str, *, changes: bool) -> Feature:
    return Feature(f"`{name}`", {name: True}, (name,), changes=changes)


FP32 = Feature("fp32")
SPARSE = Feature("sparse gradients", unsupported=("sparse",), sparse=True)
FEATURES: tuple[Feature, ...] = (
    FP32,
    Feature("fp64", dtype=torch.float64),
    Feature("bf16", dtype=torch.bfloat16),
    Feature("fp16", dtype=torch.float16),
    Feature("complex", unsupported=("complex",), dtype=torch.complex64),
    SPARSE,
    Feature("coupled decay", {"weight_decay": DECAY}, ("weight_decay",), decay="coupled", changes=True),
    Feature(
        "decoupled decay",
        {"weight_decay": DECAY},
        ("weight_decay", "decoupled_weight_decay"),
        decay="decoupled",
        changes=True,
    ),
    _option("maximize", changes=True),
    Feature("tensor `lr`", {"lr": torch.tensor(LR)}, changes=False),
    _option("capturable", changes=False),
    _option("fused", changes=False),
    _option("differentiable", changes=False),
    Feature("`max_grad_norm`", {"max_grad_norm": 0.5}),
    Feature("`max_grad_value`", {"max_grad_value": 0.5}, ("max_grad_value",)),
    Feature("`adaptive_clip`", {"adaptive_clip": 0.01}, ("adaptive_clip",)),
    Feature("coupled `l1`", {"l1": DECAY}, ("l1",), decay="coupled", changes=True),
    Feature("decoupled `l1`", {"l1": DECAY}, ("l1", "decoupled_weight_decay"), decay="decoupled", changes=True),
    Feature(
        "`decouple_lr`",
        {"weight_decay": DECAY, "decouple_lr": True},
        ("weight_decay", "decoupled_weight_decay", "decouple_lr"),
        decay="decoupled",
        changes=True,
    ),
    Feature(
        "cautious decay",
        {"weight_decay": DECAY, "cautious_weight_decay": True},
        ("weight_decay", "decoupled_weight_decay"),
        decay="decoupled",
        changes=True,
    ),
    Feature("`skip_nonfinite`", {"skip_nonfinite": True}, changes=False),
    Feature(
        "`skip_nonfinite` on the device",
        {"skip_nonfinite": True, "capturable": True},
        ("capturable",),
        changes=False,
    ),
    Feature("AMP", grad_scale=1024.0, changes=False),
)

RULES: dict[tuple[str, Backend], str] = {
    ("sparse gradients", "compiled"): "sparse gradients are updated by torch's own operations",
    ("sparse gradients", "triton"): "sparse gradients are updated by torch's own operations",
    ("`differentiable`", "compiled"): "autograd records torch's own operations only",
    ("`differentiable`", "triton"): "autograd records torch's own operations only",
    ("`fused`", "eager"): "`fused=True` demands a fast backend",
}
"""What a backend does not do for any optimizer."""


def accepted(optimizer: type[Optimizer]) -> frozenset[str]:
    """The names of the arguments that a class takes, without the parameters."""
    names = {p.name for p in _parameters(optimizer) if p.kind is not p.VAR_KEYWORD}
    hints = get_type_hints(optimizer.__init__)
    for p in _parameters(optimizer):
        if p.kind is p.VAR_KEYWORD:
            names |= get_type_hints(get_args(hints[p.name])[0]).keys()
    return frozenset(names)


def required(optimizer: type[Optimizer]) -> dict[str, Any]:
    """A value for each argument that has no default."""
    values = {"lr": LR}
    return {
        p.name: values[p.name] for p in _parameters(optimizer) if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    }


def _parameters(optimizer: type[Optimizer]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(optimizer).parameters.values() if p.name != "params"]


def arguments(optimizer: type[Optimizer], feature: Feature) -> dict[str, Any]:
    """What a class is constructed with to ask for a feature. lr is large enough to be seen in every dtype."""
    found = {**required(optimizer), **({"lr": LR} if "lr" in accepted(optimizer) else {}), **feature.options}
    if feature.decay is not None and _only_decay(optimizer) != feature.decay:
        found["decoupled_weight_decay"] = feature.decay == "decoupled"
    return found


def hole(optimizer: type[Optimizer], backend: Backend, feature: Feature) -> str | None:
    """Why an optimizer does not take a feature on a backend, or None if it does."""
    for name in feature.unsupported:
        if name in optimizer.unsupported:
            return optimizer.unsupported[name]
    if missing := sorted(feature.options.keys() - accepted(optimizer)):
        return f"there is no `{missing[0]}`"
    if feature.decay is not None and (only := _only_decay(optimizer)) not in (feature.decay, None):
        return f"weight decay is always {only}"
    example = _example(optimizer)
    if feature.sparse and (reason := example.refuses_sparse(example.param_groups[0])) is not None:
        return reason
    if needs_sparse(optimizer) and (reason := RULES.get((SPARSE.name, backend))) is not None:
        return reason
    return RULES.get((feature.name, backend))


def needs_sparse(optimizer: type[Optimizer]) -> bool:
    """Whether a class refuses dense gradients. All that it takes is then taken with sparse ones."""
    example = _example(optimizer)
    (param,) = example.param_groups[0]["params"]
    param.grad = torch.zeros_like(param)
    try:
        example.choose(example.param_groups[0], param, shares_memory=False)
    except RuntimeError:
        return True
    return False


def _only_decay(optimizer: type[Optimizer]) -> Decay | None:
    """The form of weight decay of a class that has only one."""
    if "decoupled_weight_decay" in accepted(optimizer):
        return None
    example = _example(optimizer)
    group = {**example.param_groups[0], "weight_decay": DECAY}
    return decay_form(group, decoupled=example.is_decoupled(group))


def _example(optimizer: type[Optimizer]) -> Optimizer:
    construct: Any = optimizer
    created: Optimizer = construct([torch.nn.Parameter(torch.ones(2, 2))], **required(optimizer))
    return created


INTRODUCTION = f"""\
# Optimizers

This page is printed by `python -m torchopt_notes.testing.matrix` from the classes themselves, and
`tests/testing/test_matrix.py` constructs and steps every cell of the table, also those that say no: these must raise.

A cell names the backends that take what the column asks for; ✓ stands for all of them
({", ".join(BACKENDS)}). With `backend="auto"`, what a fast backend does not take falls back to eager.
"""


def page() -> str:
    """The page, in Markdown."""
    notes: dict[str, int] = {}
    header = ["", "replaces", *(feature.name for feature in FEATURES)]
    rows = [header, ["---"] * len(header)]
    for optimizer in optimizers().values():
        cells = [_cell(optimizer, feature, notes) for feature in FEATURES]
        rows.append([f"`{optimizer.__name__}`", _counterpart(optimizer) or "–", *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    footnotes = "\n".join(f"[^{number}]: {_markdown(text)}" for text, number in notes.items())
    entries = "\n".join(_entry(optimizer) for optimizer in optimizers().values())
    return "\n\n".join([INTRODUCTION.strip(), table, footnotes, "## What each one is", entries])


def _cell(optimizer: type[Optimizer], feature: Feature, notes: dict[str, int]) -> str:
    """The backends that take a feature, and a footnote for each reason why others do not."""
    holes = {backend: hole(optimizer, backend, feature) for backend in BACKENDS}
    takers = [backend for backend, reason in holes.items() if reason is None]
    if len(takers) == len(BACKENDS):
        return "✓"
    marks = []
    for reason in dict.fromkeys(filter(None, holes.values())):
        number = notes.setdefault(reason, len(notes) + 1)
        marks.append(f"[^{number}]")
    return (", ".join(takers) or "–") + "".join(marks)


def _entry(optimizer: type[Optimizer]) -> str:
    parts = [f"- **`{optimizer.__name__}`**: {_markdown(description(optimizer))}"]
    if (counterpart := _counterpart(optimizer)) is not None:
        parts.append(f"Replaces {counterpart}.")
    aliases = [
        f"`{alias}`" + (f" ({', '.join(f'`{name}={value!r}`' for name, value in given.items())})" if given else "")
        for alias, given in own_aliases(optimizer).items()
    ]
    if aliases:
        parts.append(f"Also called {', '.join(aliases)}.")
    parts.append(f"Source: {_markdown(source(optimizer))}")
    return textwrap.fill(" ".join(parts), 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _counterpart(optimizer: type[Optimizer]) -> str | None:
    return None if optimizer.counterpart is None else f"`torch.optim.{optimizer.counterpart.__name__}`"


def source(optimizer: type[Optimizer]) -> str:
    """The paragraph of the class's docstring that says where the optimizer comes from."""
    found = re.search(r"^Source: (.*?)(?:\n\n|\Z)", inspect.getdoc(optimizer) or "", flags=re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"{optimizer.__name__}: the docstring has no paragraph that begins with 'Source: '")
    return " ".join(found[1].split())


def _markdown(text: str) -> str:
    """A docstring's reStructuredText, as far as it is used in one line."""
    text = re.sub(r":math:`([^`]*)`", r"$`\1`$", text)
    text = re.sub(r":\w+:`(?:~[\w.]*\.)?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


if __name__ == "__main__":
    print(page())
