"""Lists that no model has: the extremes."""

from __future__ import annotations

from .case import Shape


def one(elements: int, columns: int = 4_000) -> list[Shape]:
    """One matrix."""
    return [(max(elements // columns, 1), columns)]


def many(tensors: int, elements: int = 1_000) -> list[Shape]:
    """Small vectors."""
    return [(elements,)] * tensors


def uneven(tensors: int) -> list[Shape]:
    """Sizes from 10 to 100,000, as models with many parameter groups have them."""
    return [(int(10 ** (1 + 4 * ((7 * i) % tensors) / tensors)),) for i in range(tensors)]
