"""Differences that are meant: what each is, where it shows, and why it is better so."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Explained:
    """A known difference. It does not fail the survey; if it no longer shows, the entry itself does.

    Attributes:
        case, scenario: patterns (``*``, ``?``, ``[...]``) of the names of cases and scenarios.
        dtypes: the names of the dtypes that show it.
        reason: for the reader, in a sentence or two.
        backends: the backends that show it.
    """

    case: str
    scenario: str
    dtypes: tuple[str, ...]
    reason: str
    backends: tuple[str, ...] = ("eager", "compiled", "triton")

    def covers(self, case: str, backend: str, dtype: str, scenario: str | None = None) -> bool:
        """Whether it speaks of this scenario of this case; without a scenario, of the case at all."""
        return (
            fnmatchcase(case, self.case)
            and backend in self.backends
            and dtype in self.dtypes
            and (scenario is None or fnmatchcase(scenario, self.scenario))
        )


CAST_ON_LOAD = (
    "torch casts {} from fp32 to the parameters' dtype when a checkpoint is loaded. Here it keeps its dtype, so that a "
    "run that was resumed is the run that was not interrupted."
)

EXPLAINED: tuple[Explained, ...] = (
    Explained("nadam*", "checkpoint", ("bf16", "fp16", "fp64"), CAST_ON_LOAD.format("`mu_product`")),
    Explained("nadam*", "switch", ("bf16", "fp16", "fp64"), CAST_ON_LOAD.format("`mu_product`")),
    Explained("asgd*", "checkpoint", ("bf16", "fp16", "fp64"), CAST_ON_LOAD.format("`eta` and `mu`")),
    Explained("asgd*", "switch", ("bf16", "fp16", "fp64"), CAST_ON_LOAD.format("`eta` and `mu`")),
    Explained(
        "sgd-momentum",
        "sparse-gradients",
        ("fp32", "bf16", "fp16", "fp64", "complex64"),
        "torch keeps the momentum of sparse gradients in a sparse tensor, where a row that was named twice stays two "
        "entries: two steps and two roundings. Here the buffer is dense and holds their sum, rounded once.",
        ("eager",),
    ),
    *(
        Explained(
            case,
            "not-finite",
            ("fp32", "bf16", "fp16", "fp64"),
            "After an infinite gradient the eager mean is inf in some steps and NaN in others, as torch's: `lerp_` "
            "changes its form at a weight of ½, and one form subtracts inf from inf. Compiled rules have one form. The "
            "parameters are NaN in both.",
            ("compiled", "triton"),
        )
        for case in ("adafactor*", "stable-adamw*")
    ),
    Explained(
        "rprop",
        "growth",
        ("fp16",),
        "Sizes of steps are kept in the parameters' dtype, as torch's. All weights walk along the same sizes, lr times "
        "powers of 1.2 and ½ as fp16 rounds them, so their errors are not independent: a bias is no surprise. Over "
        "hundreds of steps ours are several times smaller than torch's, which rounds 1.2 too; after a thousand, by how "
        "these sizes happen to be rounded, a seventh larger.",
        ("eager",),
    ),
)


def explanation(case: str, backend: str, dtype: str, scenario: str) -> str | None:
    """Why a difference is meant, or None.

    >>> explanation("nadam", "eager", "bf16", "checkpoint")[:30]
    'torch casts `mu_product` from '
    >>> explanation("nadam", "eager", "fp32", "checkpoint") is None
    True
    """
    found = (one.reason for one in EXPLAINED if one.covers(case, backend, dtype, scenario))
    return next(found, None)
