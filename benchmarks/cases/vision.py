"""Parameter lists of vision models, written down from the papers and the models that torchvision and timm publish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .case import Shape

BOTTLENECK = 4
"""How many times wider a ResNet block's output is than its middle."""


def resnet(blocks: Sequence[int], classes: int = 1000) -> list[Shape]:
    """He et al. 2015, with bottleneck blocks: 25,557,032 parameters for (3, 4, 6, 3), 44,549,160 for (3, 4, 23, 3)."""
    shapes: list[Shape] = [(64, 3, 7, 7), *_norm(64)]
    inputs = 64
    for stage, repeats in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(repeats):
            outputs = width * BOTTLENECK
            for shape in ((width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)):
                shapes += [shape, *_norm(shape[0])]
            if block == 0:
                shapes += [(outputs, inputs, 1, 1), *_norm(outputs)]
            inputs = outputs
    return [*shapes, (classes, inputs), (classes,)]


def vit(width: int, depth: int, hidden: int, patch: int = 16, image: int = 224, classes: int = 1000) -> list[Shape]:
    """Dosovitskiy et al. 2020: 86,567,656 parameters for ViT-B/16 (768, 12, 3072)."""
    patches = (image // patch) ** 2
    shapes: list[Shape] = [(1, 1, width), (width, 3, patch, patch), (width,), (1, patches + 1, width)]
    for _ in range(depth):
        shapes += [*_norm(width), (3 * width, width), (3 * width,), (width, width), (width,)]
        shapes += [*_norm(width), (hidden, width), (hidden,), (width, hidden), (width,)]
    return [*shapes, *_norm(width), (classes, width), (classes,)]


def _norm(width: int) -> Iterator[Shape]:
    yield (width,)
    yield (width,)
