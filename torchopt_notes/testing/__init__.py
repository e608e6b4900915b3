"""The parity harness: says whether an optimizer does what another one does, and where it first does not.

Public: this project's own tests use it, and so can any project's.
"""

from .cases import CASES, Case
from .parity import Difference, ParityError, ParityReport, assert_parity, random_gradients
from .ulp import spacing, ulp_distance

__all__ = [
    "CASES",
    "Case",
    "Difference",
    "ParityError",
    "ParityReport",
    "assert_parity",
    "random_gradients",
    "spacing",
    "ulp_distance",
]
