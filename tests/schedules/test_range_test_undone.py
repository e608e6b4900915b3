"""A range test leaves everything as it was."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from tests.schedules.range_testing import (
    BATCHES,
    NAMES,
    TRACES,
    Net,
    Weight,
    fingerprint,
    frozen,
    range_test,
    train,
    training,
)
from torchopt_notes.schedules import lr_range_test


@pytest.mark.parametrize("before", [0, 3], ids=["new", "mid-training"])
@pytest.mark.parametrize("name", NAMES)
def test_everything_is_as_it_was(name, before):
    model, optimizer = training(name, before=before)
    was = fingerprint(model, optimizer)
    found = range_test(model, optimizer)
    assert len(found.lrs) == 12 or found.diverged
    assert fingerprint(model, optimizer) == was
    # A control: the same steps, made by hand, leave traces in all of it.
    train(model, optimizer, 1)
    now = fingerprint(model, optimizer)
    assert all(now[part] != was[part] for part in ("modules", "optimizer", "random"))


@pytest.mark.parametrize("trace", TRACES)
def test_each_trace_would_be_noticed(trace):
    model, optimizer = training("torch-adamw")
    was = fingerprint(model, optimizer)
    assert fingerprint(model, optimizer) == was
    with torch.no_grad():
        TRACES[trace](model, optimizer)
    assert fingerprint(model, optimizer) != was


@pytest.mark.parametrize("trace", TRACES)
def test_each_trace_is_undone(trace):
    model, optimizer = training("torch-adamw")
    optimizer.register_step_post_hook(lambda *_: torch.no_grad()(TRACES[trace])(model, optimizer))
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


def test_gradients_from_before_are_as_they_were_even_if_others_write_there():
    model, optimizer = training("torch-sgd")
    grad = model.body[0].weight.grad
    optimizer.register_step_post_hook(lambda *_: grad.add_(1))
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


class Trap:
    """Raises when it is called, but not the first few times."""

    def __init__(self, error, after):
        self.error, self.left = error, after

    def __call__(self, *_):
        self.left -= 1
        if self.left < 0:
            raise self.error


TRAPS = {
    "batches": lambda trap, *_: {"batches": (trap() or one for one in itertools.cycle(BATCHES))},
    "model": lambda trap, model, _: model.body[2].register_forward_hook(trap) and {},
    "loss": lambda trap, *_: {"loss_fn": lambda y, target: trap() or nn.functional.cross_entropy(y, target)},
    "backward": lambda trap, model, _: model.body[4].register_full_backward_hook(trap) and {},
    "step": lambda trap, _, opt: opt.register_step_post_hook(trap) and {},
}


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("where", TRAPS)
@pytest.mark.parametrize("name", ["torch-sgd", "torch-adamw", "adamw-eager"])
def test_an_exception_leaves_everything_as_it_was(name, where, error, after):
    model, optimizer = training(name)
    trap = Trap(error, after)
    options = TRAPS[where](trap, model, optimizer)
    was = fingerprint(model, optimizer)
    with pytest.raises(error):
        range_test(model, optimizer, **options)
    assert trap.left == -1
    assert fingerprint(model, optimizer) == was


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("wrong", [Tensor.item, lambda loss: loss.expand(2), lambda loss: None])
def test_a_wrong_loss_leaves_everything_as_it_was(wrong, after):
    model, optimizer = training("torch-sgd")
    count = itertools.count()

    def loss_fn(y, target):
        loss = nn.functional.cross_entropy(y, target)
        return loss if next(count) < after else wrong(loss)

    was = fingerprint(model, optimizer)
    with pytest.raises(TypeError, match="loss_fn must return a tensor of one"):
        range_test(model, optimizer, loss_fn=loss_fn)
    assert fingerprint(model, optimizer) == was


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_as_it_was():
    model = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    optimizer = torch.optim.SGD([next(model.parameters())], lr=0.1, momentum=0.9)

    def content():
        return [frozen(one)[4:] for one in (*model.parameters(), *model.buffers())]

    was = content()
    range_test(model, optimizer)
    assert (content(), len(optimizer.state)) == (was, 0)
    model(BATCHES[0][0])
    assert content() != was


def test_a_buffer_that_gets_a_graph_loses_it_again():
    model = Weight()
    model.register_buffer("sum", torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.SGD([model.w], lr=1.0)
    was = fingerprint(model, optimizer)
    with pytest.raises(
        RuntimeError, match=r"backward through the graph a second time|modified by an inplace operation"
    ):
        lr_range_test(model, lambda w, _: model.sum.add_(w**2) + 0, [(0, 0)], optimizer)
    assert fingerprint(model, optimizer) == was


def test_tensors_of_inference_mode_are_let_alone():
    model, optimizer = training("torch-sgd")
    with torch.inference_mode():
        model.cached = torch.ones(3)
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


def test_no_closure_no_step():
    model = Net()
    optimizer = torch.optim.LBFGS(model.body.parameters())
    was = fingerprint(model, optimizer)
    with pytest.raises(TypeError, match="closure"):
        range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


# That training goes on as if nothing had been
