"""What the compiler takes for one kernel, and what its machine code must come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..engine.launch_table import BLOCK


@dataclass(frozen=True)
class Source:
    """One kernel with its arguments.

    Attributes:
        kernel: the Triton function.
        signature, constants: its arguments' types, and its compile-time arguments.
        loads, stores: bytes per element that the main path must move in 128-bit accesses; None where that is no demand.
        block: elements per program.
    """

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    loads: int | None = None
    stores: int | None = None
    block: int = BLOCK

    @property
    def indexed_constants(self) -> dict[Any, Any]:
        """The compile-time arguments by position, as the compiler takes them."""
        return {(self.kernel.arg_names.index(name),): value for name, value in self.constants.items()}
