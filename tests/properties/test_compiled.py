"""Any run on the compiled backend, with switches to eager and back."""

from functools import partial

import pytest
import torch
from hypothesis import Phase
from hypothesis import strategies as st

from tests.backends import MISSING
from torchopt_notes import AdamW
from torchopt_notes.engine.backends import interpreted

from .fast import POOL, check, runs, variants
from .running import run

pytestmark = pytest.mark.skipif(
    interpreted() or MISSING["compiled"] is not None, reason=str(MISSING["compiled"] or "compiles without kernels")
)


def test_any_run_is_what_float64_says():
    run(16, runs(st.sampled_from(POOL[:4])), partial(check, "compiled"))


@pytest.mark.full
def test_many_runs_are_what_float64_says():
    run(120, runs(st.sampled_from(POOL)), partial(check, "compiled"))


@pytest.mark.full
def test_any_variant_is_what_float64_says():
    run(8, runs(variants()), partial(check, "compiled"), phases=(Phase.generate,))


def test_an_optimizer_with_a_wrong_epsilon_is_found():
    variant = next(variant for variant in POOL if variant.case.name == "adamw")

    def wrong(params, **kwargs):
        return variant.case.optimizer(params, **{**kwargs, "eps": 1e-6})

    with pytest.raises(AssertionError):
        run(50, runs(st.just(variant)), partial(check, "compiled", wrong=wrong), phases=(Phase.generate,))


class Forgetting(AdamW):
    """Every number is none after a step."""

    def _step(self, closure):
        super()._step(closure)
        with torch.no_grad():
            for param, state in self.state.items():
                param.fill_(torch.nan)
                state["exp_avg"].fill_(torch.nan)


def test_an_optimizer_that_leaves_no_numbers_is_found():
    variant = next(variant for variant in POOL if variant.case.name == "adamw")
    with pytest.raises(AssertionError):
        run(50, runs(st.just(variant)), partial(check, "eager", wrong=Forgetting), phases=(Phase.generate,))
