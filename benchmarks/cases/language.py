"""Parameter lists of language models, written down from the papers and the published configurations."""

from __future__ import annotations

from dataclasses import dataclass

from .case import Shape, count


def gpt2(width: int = 768, depth: int = 12, vocabulary: int = 50257, context: int = 1024) -> list[Shape]:
    """Radford et al. 2019: 124,439,808 parameters by default. The output layer is the embedding."""
    shapes: list[Shape] = [(vocabulary, width), (context, width)]
    for _ in range(depth):
        shapes += [(width,), (width,), (width, 3 * width), (3 * width,), (width, width), (width,)]
        shapes += [(width,), (width,), (width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    return [*shapes, (width,), (width,)]


@dataclass(frozen=True)
class Llama:
    """Touvron et al. 2023, and its successors' grouped queries.

    Attributes:
        keys: the width of keys and values together with their heads.
        tied: whether the output layer is the embedding.
    """

    width: int
    hidden: int
    depth: int
    keys: int
    vocabulary: int
    tied: bool

    def layer(self) -> list[Shape]:
        """One layer: attention, gated perceptron, two norms."""
        w, h, k = self.width, self.hidden, self.keys
        return [(w, w), (k, w), (k, w), (w, w), (h, w), (h, w), (w, h), (w,), (w,)]

    def shapes(self, most: float = float("inf")) -> list[Shape]:
        """All of it, or as many layers as leave it at ``most`` elements, without the embedding if that is too much."""
        ends: list[Shape] = [(self.vocabulary, self.width)] * (1 if self.tied else 2)
        outside = [*ends, (self.width,)] if count(ends) <= most / 2 else [(self.width,)]
        room = max(most - count(outside), 0)
        layers = self.depth if room == float("inf") else min(int(room // count(self.layer())), self.depth)
        return [*outside[:1], *self.layer() * layers, *outside[1:]]


LLAMA_7B = Llama(width=4096, hidden=11008, depth=32, keys=4096, vocabulary=32000, tied=False)
"""The first one's: 6,738,415,616 parameters."""

LLAMA_1B = Llama(width=2048, hidden=8192, depth=16, keys=512, vocabulary=128256, tied=True)
"""Llama 3.2's: 1,235,814,400 parameters."""


def lora(model: Llama = LLAMA_7B, rank: int = 16) -> list[Shape]:
    """Hu et al. 2021: two thin matrices beside each layer's query and value, 8,388,608 parameters by default."""
    query = [(rank, model.width), (model.width, rank)]
    value = [(rank, model.width), (model.keys, rank)]
    return [*query, *value] * model.depth


def embedding(width: int = 4096) -> list[Shape]:
    """More elements than an int32 can count."""
    return [(2**31 // width + 256, width)]
