"""The data: Python's own language reference, which every Python brings along, as characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Inputs and targets of shape (batch, block): the targets are the inputs moved on by one character."""


@dataclass(frozen=True)
class Text:
    """The text as character indices, in two parts that do not overlap."""

    vocabulary: str
    train: Tensor
    validation: Tensor


def load(device: torch.device, validation_share: float = 0.1) -> Text:
    """The text behind Python's ``help()``; its length depends on the Python version (465,126 characters in 3.11).

    Its end has more indentation than the rest and is easier to predict, so a validation loss below the training loss is
    no mistake.

    Args:
        device: where the index tensors live.
        validation_share: the part at the end of the text that is kept for validation.
    """
    characters = "\n\n".join(topics.values())
    vocabulary = "".join(sorted(set(characters)))
    index = {character: i for i, character in enumerate(vocabulary)}
    encoded = torch.tensor([index[character] for character in characters], device=device)
    cut = round(len(encoded) * (1 - validation_share))
    return Text(vocabulary, encoded[:cut], encoded[cut:])


def batches(part: Tensor, count: int, batch: int, block: int, seed: int) -> Iterator[Batch]:
    """``count`` batches of windows at random places, the same ones for the same seed on every device.

    Args:
        part: 1-d character indices.
        count: number of batches.
        batch: windows in a batch.
        block: characters in a window.
        seed: of the places.
    """
    # Drawn on the CPU: a generator on a GPU gives other numbers.
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.arange(block + 1, device=part.device)
    for _ in range(count):
        starts = torch.randint(len(part) - block, (batch, 1), generator=generator).to(part.device)
        windows = part[starts + offsets]
        yield windows[:, :-1], windows[:, 1:]
