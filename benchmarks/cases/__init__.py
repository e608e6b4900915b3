"""The parameter lists that optimizers are timed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from . import language, synthetic, vision
from .case import Case, Shape, count, shrunk

MILLION = 1_000_000


def _fixed(shapes: Sequence[Shape]) -> Callable[[float], Sequence[Shape]]:
    return lambda room: shapes


CASES: tuple[Case, ...] = (
    Case("one-20m", "one tensor of 20 million elements", _fixed(synthetic.one(20 * MILLION))),
    Case("one-200m", "one tensor of 200 million elements", _fixed(synthetic.one(200 * MILLION))),
    Case("tiny-2000", "2,000 tensors of 1,000 elements", _fixed(synthetic.many(2_000))),
    Case("tiny-20000", "20,000 tensors of 1,000 elements", _fixed(synthetic.many(20_000))),
    Case("groups-465", "465 tensors, each in a group of its own", _fixed(synthetic.uneven(465)), grouping="each"),
    Case("half-missing", "2,000 tensors, every other without a gradient", _fixed(synthetic.many(2_000)), missing=2),
    Case("resnet-50", "ResNet-50", _fixed(vision.resnet((3, 4, 6, 3)))),
    Case("resnet-101", "ResNet-101", _fixed(vision.resnet((3, 4, 23, 3)))),
    Case("vit-b-16", "ViT-B/16", _fixed(vision.vit(width=768, depth=12, hidden=3072))),
    Case("gpt2-124m", "GPT-2 124M", _fixed(language.gpt2())),
    Case("llama-1b", "Llama 3.2 1B, as many layers as fit", language.LLAMA_1B.shapes),
    Case("llama-7b", "Llama 7B, as many layers as fit", language.LLAMA_7B.shapes),
    Case("lora-7b", "LoRA adapters of rank 16 in Llama 7B", _fixed(language.lora())),
    Case("embedding", "one embedding of more than 2³¹ elements", _fixed(language.embedding()), devices=("cuda",)),
)


def find_cases(patterns: Sequence[str]) -> tuple[Case, ...]:
    """The cases whose names match a pattern (``*``, ``?``, ``[...]``).

    Raises:
        ValueError: for a pattern that matches none; the message lists all names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in CASES):
            raise ValueError(f"no case is called {pattern!r}; there are {', '.join(case.name for case in CASES)}")
    return tuple(case for case in CASES if any(fnmatchcase(case.name, pattern) for pattern in patterns))


__all__ = ["CASES", "Case", "Shape", "count", "find_cases", "shrunk"]
