"""Whatever is done to an optimizer between steps, in any order: torch's bits on the eager backend."""

from functools import partial

import pytest
import torch
from hypothesis import Phase, seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.backends import HERE
from torchopt_notes import Adagrad

from .running import SEED, chosen
from .strategies import PATTERNS, TORCH_CLASSES, Tensors, rates, tensors_for, torch_options
from .twins import Twins

pytestmark = pytest.mark.skipif("eager" not in HERE, reason="kernels are no part of this")
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3)


class Life(RuleBasedStateMachine):
    """One optimizer and torch's, side by side."""

    @initialize(data=st.data())
    def begin(self, data):
        self.optimizer = data.draw(st.sampled_from(TORCH_CLASSES))
        options = data.draw(torch_options(self.optimizer))
        # Small models fall to the eager backend, so that "auto" must give the same bits.
        self.backends = [partial(self.ours, backend=name, **options) for name in ("eager", "auto")]
        self.theirs = partial(self.optimizer.counterpart, **options)
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
        tensors = data.draw(tensors_for(self.optimizer))
        self.twins = Twins([self.backends[0], self.theirs], tensors, dtype, data.draw(st.integers(0, 99)))

    def ours(self, params, **options):
        return self.optimizer(params, **options)

    @rule(patterns=patterns)
    def step(self, patterns):
        self.twins.fill(patterns)
        self.twins.step()
        self.twins.assert_equal()

    @rule(patterns=patterns)
    def step_with_a_closure(self, patterns):
        for optimizer in self.twins.optimizers:
            state = self.twins.generator.get_state()
            assert optimizer.step(lambda: self.twins.fill(patterns) or 1.5) == 1.5
            if optimizer is self.twins.optimizers[0]:
                self.twins.generator.set_state(state)
        self.twins.assert_equal()

    @rule(patterns=patterns, to_none=st.booleans())
    def zero_the_gradients(self, patterns, to_none):
        self.twins.fill(patterns)
        for optimizer in self.twins.optimizers:
            optimizer.zero_grad(set_to_none=to_none)
        self.twins.step()
        self.twins.assert_equal()

    @rule(exchanged=st.booleans(), backend=st.integers(0, 1))
    def save_and_load(self, exchanged, backend):
        self.twins.restore(exchanged=exchanged, makes=[self.backends[backend], self.theirs])

    @rule(backend=st.sampled_from(["eager", "auto"]))
    def switch_the_backend(self, backend):
        self.twins.optimizers[0].backend = backend

    @precondition(lambda self: self.optimizer is not Adagrad)  # torch's cannot go on
    @rule(lr=rates)
    def add_a_group(self, lr):
        self.twins.add_group(Tensors((3, 2), "transposed", "gaps"), lr=lr)

    @rule(name=st.sampled_from(["lr", "weight_decay"]), value=rates | st.just(0.0))
    def change(self, name, value):
        self.twins.set(name, value)

    @rule(how=st.sampled_from(["copy", "pickle"]))
    def go_on_with_a_copy(self, how):
        getattr(self.twins, how)()

    @rule(index=st.integers(0, 9))
    def freeze_or_thaw(self, index):
        self.twins.freeze(index)


class Careless(Life):
    """Counts a step too many when it is copied."""

    @rule()
    def go_on_with_a_careless_copy(self):
        self.twins.copy()
        for state in self.twins.optimizers[0].state.values():
            if "step" in state:
                state["step"] += 1


def live(machine, examples, steps=12, phases=tuple(Phase)):
    test = seed(int(SEED))(machine) if SEED is not None else machine
    run_state_machine_as_test(test, settings=chosen(examples, steps=steps, phases=phases))


def test_any_life_gives_torchs_bits():
    live(Life, 60)


@pytest.mark.full
def test_many_lives_give_torchs_bits():
    live(Life, 150, steps=25)


def test_a_careless_copy_is_found():
    with pytest.raises(AssertionError):
        live(Careless, 100, phases=(Phase.generate,))
