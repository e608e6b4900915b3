"""How far a right result may be from the exact one: derived from the roundings that exist, not tuned.

A *unit* (:mod:`.oracle`) is the spacing of the compute precision at the exact result, plus what half a spacing of each
input and of the learning rate moves it by. So it already counts the rounding of the result and one of each input, with
all cancellation that these lead to. What is left to count are roundings in the middle of a rule, as multiples of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch


@dataclass(frozen=True)
class Tolerance:
    """What one dtype of parameters allows.

    Attributes:
        dtype: of parameters and states.
        compute: the precision that a rule is computed in.
        rounds_on_store: whether a result is rounded once more when it is stored. The exact result, give or take the
            units, is rounded likewise before the comparison, so that this adds nothing to them.
        oracle_factor: by how much the oracle's own roundings, in float64, widen the units.
    """

    dtype: torch.dtype
    compute: torch.dtype
    rounds_on_store: bool
    oracle_factor: int


TOLERANCES = MappingProxyType(
    {
        one.dtype: one
        for one in (
            Tolerance(torch.float16, torch.float32, rounds_on_store=True, oracle_factor=1),
            Tolerance(torch.bfloat16, torch.float32, rounds_on_store=True, oracle_factor=1),
            Tolerance(torch.float32, torch.float32, rounds_on_store=False, oracle_factor=1),
            Tolerance(torch.complex64, torch.float32, rounds_on_store=False, oracle_factor=1),
            # The oracle is no more exact than what it judges: its roundings come on top.
            Tolerance(torch.float64, torch.float64, rounds_on_store=False, oracle_factor=2),
            Tolerance(torch.complex128, torch.float64, rounds_on_store=False, oracle_factor=2),
        )
    }
)


@dataclass(frozen=True)
class Roundings:
    """Units that a kind of rule needs, and the count of roundings that says so."""

    units: int
    because: str


PLAIN = Roundings(2, "the unit counts one rounding of each input and of the result; products in between add one more")
QUOTIENT_AND_STATE = Roundings(
    5,
    "a quotient joins a state that may cancel it: the quotient's roundings (weight, squares, their mean, root, ε, "
    "division) come to 5 half spacings and the state's product to 2, where the unit counts one for the state, and as "
    "little as half of one for the quotient, which does not change when gradient and root grow alike. LaProp's "
    "quotient has two more and changes by 0.9 at least; ADOPT's, when clipped, does not change at all, but has 4.3",
)
NORMS = Roundings(
    4,
    "norms of the whole tensor scale the step: two norms and their quotient (squares, sums, roots, division) add two "
    "units, which no input's rounding explains",
)
FACTORED = Roundings(6, "as with norms, and two for the separate roots of rows and columns")
SQUARED_STEP = Roundings(
    14,
    "a mean of squared steps: a first step has the same size for all large gradients, so that no input's rounding "
    "counts and the unit is one spacing, or a half one of its factors. A step's roundings (ε, two roots, squares, "
    "their sum, division, product) come to 6 half spacings, its square's to 12, and its share in the mean (two "
    "products) adds 2",
)
KINDS = MappingProxyType(
    {
        "plain": PLAIN,
        "quotient and state": QUOTIENT_AND_STATE,
        "norms": NORMS,
        "factored": FACTORED,
        "squared step": SQUARED_STEP,
    }
)
