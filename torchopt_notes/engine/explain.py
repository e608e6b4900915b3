"""What ``Optimizer.explain()`` returns: who runs what, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .backends import Backend
    from .buckets import Bucket


@dataclass(frozen=True)
class BucketReport:
    """One bucket: its parameters' names (``group.index`` where the optimizer was given none), and who serves them."""

    parameters: tuple[str, ...]
    elements: int
    dtype: torch.dtype
    device: torch.device
    backend: Backend
    reason: str


@dataclass(frozen=True)
class Explanation(Sequence[BucketReport]):
    """The buckets of the next step. A sequence of :class:`BucketReport`; ``print`` shows a table."""

    optimizer: str
    buckets: tuple[BucketReport, ...]

    @classmethod
    def of(cls, optimizer: str, buckets: Sequence[Bucket]) -> Explanation:
        """The explanation of a plan's buckets."""
        return cls(
            optimizer,
            tuple(
                BucketReport(
                    tuple(member.name for member in bucket.members),
                    bucket.elements,
                    bucket.kind.dtype,
                    bucket.kind.device,
                    bucket.kind.backend,
                    bucket.kind.reason,
                )
                for bucket in buckets
            ),
        )

    def __len__(self) -> int:
        return len(self.buckets)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.buckets[index]

    def __str__(self) -> str:
        header = ("parameters", "elements", "dtype", "device", "backend", "reason")
        rows = [
            (
                _names(bucket.parameters),
                f"{bucket.elements:,}",
                str(bucket.dtype).removeprefix("torch."),
                str(bucket.device),
                bucket.backend,
                bucket.reason,
            )
            for bucket in self.buckets
        ]
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
        ]
        return "\n".join(line.rstrip() for line in (self.optimizer, *lines))


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown}, … ({len(names)})"
