"""The parity harness: says whether an optimizer does what another one does, and where it first does not.

Public: this project's own tests use it, and so can any project's.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .cases import CASES, Case
    from .comparison import Histogram, Outcome, compare
    from .contest import FLOAT64
    from .differences import Difference, ParityError
    from .growth import Growth, drifting_gradients, error_growth
    from .parity import ParityReport, assert_parity
    from .scenarios import SCENARIOS, Scenario, find_scenarios, random_gradients
    from .tolerances import TOLERANCES, Tolerance
    from .ulp import spacing, ulp_distance

__all__ = [
    "CASES",
    "FLOAT64",
    "SCENARIOS",
    "TOLERANCES",
    "Case",
    "Difference",
    "Growth",
    "Histogram",
    "Outcome",
    "ParityError",
    "ParityReport",
    "Scenario",
    "Tolerance",
    "assert_parity",
    "compare",
    "drifting_gradients",
    "error_growth",
    "find_scenarios",
    "random_gradients",
    "spacing",
    "ulp_distance",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "cases": ["CASES", "Case"],
        "comparison": ["Histogram", "Outcome", "compare"],
        "contest": ["FLOAT64"],
        "differences": ["Difference", "ParityError"],
        "growth": ["Growth", "drifting_gradients", "error_growth"],
        "parity": ["ParityReport", "assert_parity"],
        "scenarios": ["SCENARIOS", "Scenario", "find_scenarios", "random_gradients"],
        "tolerances": ["TOLERANCES", "Tolerance"],
        "ulp": ["spacing", "ulp_distance"],
    },
)
