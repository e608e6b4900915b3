"""Any run of the kernels in Triton's interpreter, with switches to eager and back."""

from functools import partial

import pytest
from hypothesis import Phase

from tests.backends import HERE
from torchopt_notes.testing import CASES

from .fast import Variant, check, runs, variants
from .running import run

pytestmark = [
    pytest.mark.skipif("triton" not in HERE, reason="needs TRITON_INTERPRET=1"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy, about numbers that are none
]


def test_any_run_is_what_float64_says():
    run(30, runs(variants()), partial(check, "triton"))


@pytest.mark.full
def test_many_runs_are_what_float64_says():
    run(300, runs(variants()), partial(check, "triton"))


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd-momentum"])
def test_an_optimizer_with_a_slightly_larger_rate_is_found(name):
    case = next(case for case in CASES if case.name == name)

    def wrong(params, **kwargs):
        return case.optimizer(params, **{**kwargs, "lr": kwargs.get("lr", 1e-3) * (1 + 1e-4)})

    only = runs(variants().map(lambda variant: Variant(case, {}, variant.dtype)))
    with pytest.raises(AssertionError):
        run(50, only, partial(check, "triton", wrong=wrong), phases=(Phase.generate,))
