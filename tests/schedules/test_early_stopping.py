"""``EarlyStopping``: when it stops, against a few lines that say the same, and what it brings back, bit for bit."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchopt_notes
from torchopt_notes import schedules as S

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, math.inf, -math.inf]) | st.floats(-2, 2)
METRICS = [1.0, 0.8, 0.9, 0.5, 0.7, 0.6, 0.55, 0.1]


def expected(metrics, patience, min_delta, mode):
    """The number of the metric that ends it, or None, and the number of the best one until then."""
    losses = [metric if mode == "min" else -metric for metric in metrics]
    best = 0
    for step, loss in enumerate(losses):
        if step and loss < losses[best] - min_delta:
            best = step
        if step - best == patience:
            return step, best
    return None, best


def run(stopping, metrics, *states):
    """The number of the metric that ends it, or None."""
    for step, metric in enumerate(metrics):
        if stopping.step(metric, *states):
            return step
    return None


@PROPERTY
@given(
    st.lists(values, min_size=1, max_size=30),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.25, 0.3]),
    st.sampled_from(["min", "max"]),
)
def test_it_stops_when_the_rule_says(metrics, patience, min_delta, mode):
    stopping = S.EarlyStopping(patience, min_delta, mode, restore_best=False)
    stop, best = expected(metrics, patience, min_delta, mode)
    assert run(stopping, metrics) == stop
    assert stopping.stopped == (stop is not None)
    assert (stopping.best, stopping.best_step) == (metrics[best], best)
    assert stopping.num_bad_steps == (len(metrics) - 1 if stop is None else stop) - best


@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({}, None),
        ({"patience": 3}, 6),
        ({"patience": 2}, 5),
        ({"patience": 1}, 2),
        ({"patience": 2, "mode": "max"}, 2),
        ({"patience": 2, "min_delta": 0.25}, 2),
        ({"patience": 2, "min_delta": 0.15}, 5),
    ],
)
def test_each_option_counts(options, stop):
    assert run(S.EarlyStopping(restore_best=False, **options), METRICS) == stop


def test_before_the_first_metric():
    stopping = S.EarlyStopping()
    assert (stopping.best, stopping.best_step, stopping.num_bad_steps, stopping.stopped) == (None, -1, 0, False)


def test_exactly_min_delta_is_no_better():
    assert run(S.EarlyStopping(1, 0.5, restore_best=False), [1.0, 0.5]) == 1
    assert run(S.EarlyStopping(1, 0.5, restore_best=False), [1.0, math.nextafter(0.5, 0)]) is None


@pytest.mark.parametrize("metric", [0.5, torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float64)])
def test_a_metric_is_read_from_what_holds_a_number(metric):
    stopping = S.EarlyStopping(restore_best=False)
    stopping.step(metric)
    assert stopping.best == 0.5
    assert type(stopping.best) is float


class Run:
    """A model with buffers, and an optimizer with states, that change in every step."""

    def __init__(self, make_optimizer):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        self.optimizer = make_optimizer(self.model.parameters())
        self.generator = torch.Generator().manual_seed(1)

    def train(self):
        inputs = torch.randn(8, 3, generator=self.generator)
        self.optimizer.zero_grad()
        self.model(inputs).square().mean().backward()
        self.optimizer.step()

    def states(self):
        return copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict()))


OPTIMIZERS = {
    "torch": lambda params: torch.optim.AdamW(params, lr=0.1),
    "ours": lambda params: torchopt_notes.AdamW(params, lr=0.1, backend="eager"),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
}
WITH_EACH = pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def same(one, other):
    """Bit for bit, in whatever it is made of."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@WITH_EACH
def test_the_best_states_come_back_bit_for_bit(make_optimizer):
    training = Run(make_optimizer)
    stopping = S.EarlyStopping(patience=2)
    history = []
    for metric in METRICS:
        training.train()
        history.append(training.states())
        if stopping.step(metric, training.model, training.optimizer):
            break
    assert metric == 0.6
    assert same(training.states(), history[3])
    assert "1.running_mean" in history[3][0]
    assert not any(same(history[3], other) for other in history[:3] + history[4:]), "control: every step changes them"


@WITH_EACH
def test_what_is_kept_is_a_copy(make_optimizer):
    training = Run(make_optimizer)
    training.train()
    stopping = S.EarlyStopping(patience=3)
    stopping.step(1.0, training.model, training.optimizer)
    kept = training.states()
    for _ in range(2):
        training.train()
        assert not same(training.states(), kept)
        stopping.restore(training.model, training.optimizer)
        assert same(training.states(), kept), "also after what was restored has been trained on"
    own = {one.data_ptr() for one in training.model.state_dict().values()}
    state = stopping.state_dict()
    assert own.isdisjoint(one.data_ptr() for one in state["best_states"][0].values())
    for one in state["best_states"][0].values():
        one.fill_(7)
    stopping.restore(training.model, training.optimizer)
    assert same(training.states(), kept), "a state that was handed out is another copy"


def test_only_what_is_passed_is_restored():
    training = Run(OPTIMIZERS["torch"])
    stopping = S.EarlyStopping(patience=1)
    stopping.step(1.0, training.model)
    model, _ = training.states()
    training.train()
    _, optimizer = training.states()
    assert stopping.step(1.0, training.model)
    assert same(training.states(), (model, optimizer))


def test_without_restoring_nothing_is_kept_or_loaded():
    training = Run(OPTIMIZERS["torch"])
    stopping = S.EarlyStopping(patience=1, restore_best=False)
    stopping.step(1.0, training.model)
    training.train()
    before = training.states()
    assert stopping.step(1.0, training.model)
    stopping.restore(training.model)
    assert same(training.states(), before)
    assert stopping.state_dict()["best_states"] == []


def test_once_it_has_stopped_it_says_so():
    stopping = S.EarlyStopping(patience=1, restore_best=False)
    assert [stopping.step(metric) for metric in (1.0, 2.0, 0.5, 0.4)] == [False, True, True, True]
    assert (stopping.best, stopping.best_step) == (0.4, 3)


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@WITH_EACH
def test_it_goes_on_from_its_state_at_every_point(make_optimizer):
    def go(training, stopping, metrics):
        for metric in metrics:
            training.train()
            if stopping.step(metric, training.model, training.optimizer):
                break
        return stopping.stopped

    whole, reference = Run(make_optimizer), S.EarlyStopping(patience=3)
    assert go(whole, reference, METRICS)
    for point in range(7):
        training, before = Run(make_optimizer), S.EarlyStopping(patience=3)
        assert not go(training, before, METRICS[:point]) or point == 7
        after = S.EarlyStopping(patience=3)
        after.load_state_dict(saved_and_loaded(before.state_dict()))
        assert go(training, after, METRICS[point:])
        assert same(training.states(), whole.states())
        assert same(after.state_dict(), reference.state_dict())
    assert not same(Run(make_optimizer).states(), whole.states()), "control"


def test_what_the_constructor_was_given_stays_when_a_state_is_loaded():
    before, after = S.EarlyStopping(2, restore_best=False), S.EarlyStopping(5, restore_best=False)
    run(before, [1.0, 2.0])
    after.load_state_dict(before.state_dict())
    assert after.patience == 5
    assert run(after, [2.0] * 9) == 3


@pytest.mark.parametrize("nan", [math.nan, torch.tensor(math.nan)])
def test_nan_is_refused_and_nothing_has_changed(nan):
    training = Run(OPTIMIZERS["torch"])
    stopping = S.EarlyStopping(patience=2)
    stopping.step(1.0, training.model)
    stopping.step(2.0, training.model)
    before = stopping.state_dict(), training.states()
    with pytest.raises(ValueError, match="EarlyStopping: the metric is NaN; it must be a number"):
        stopping.step(nan, training.model)
    assert same((stopping.state_dict(), training.states()), before)
    assert stopping.step(2.0, training.model), "control: a number would have counted"


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        ((), ValueError, r"pass what is to be restored, step\(metric, model\), or restore_best=False"),
        ((3,), TypeError, "int has no state_dict to keep and load"),
        ((torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)), ValueError, "2 states were passed, 1 before"),
    ],
)
def test_states_that_cannot_be_meant(states, error, message):
    stopping = S.EarlyStopping()
    stopping.step(1.0, torch.nn.Linear(1, 1))
    before = stopping.state_dict()
    for call in (lambda: stopping.step(0.5, *states), lambda: stopping.restore(*states)):
        with pytest.raises(error, match=message):
            call()
    assert same(stopping.state_dict(), before)
