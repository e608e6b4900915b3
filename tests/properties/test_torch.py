"""Any run of an optimizer that torch has gives torch's bits on the eager backend."""

from functools import partial

import pytest
from hypothesis import Phase

from tests.backends import HERE
from torchopt_notes import SGD

from .running import run
from .strategies import Problem, torch_problems
from .twins import Twins

pytestmark = pytest.mark.skipif("eager" not in HERE, reason="kernels are no part of this")


def check(problem: Problem, wrong=lambda optimizer: optimizer):
    makes = [
        partial(wrong(problem.optimizer), backend="eager", **problem.options),
        partial(problem.optimizer.counterpart, **problem.options),
    ]
    twins = Twins(makes, problem.tensors, problem.dtype, problem.seed)
    for step in problem.steps:
        twins.happen(step.event, step.number)
        twins.fill(step.patterns)
        twins.step()
        twins.assert_equal()


def test_any_run_gives_torchs_bits():
    run(250, torch_problems(), check)


@pytest.mark.full
def test_many_runs_give_torchs_bits():
    run(1000, torch_problems(), check)


class Forgetful(SGD):
    """Loses its momentum when it is loaded."""

    def load_state_dict(self, state_dict):
        super().load_state_dict({**state_dict, "state": {}})


def test_an_optimizer_that_loses_its_state_is_found():
    with pytest.raises(AssertionError):
        run(500, torch_problems((SGD,)), partial(check, wrong=lambda optimizer: Forgetful), phases=(Phase.generate,))


def test_an_optimizer_with_another_default_is_found():
    def wrong(optimizer):
        return partial(optimizer, maximize=True)

    with pytest.raises(AssertionError):
        run(50, torch_problems(), partial(check, wrong=wrong), phases=(Phase.generate,))
