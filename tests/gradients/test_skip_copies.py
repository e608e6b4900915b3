"""Checkpoints and copies of an optimizer that has skipped steps: what was skipped is nowhere in them."""

import copy
import io
import pickle

import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.common_amp import HOST_OR_DEVICE, NAN, Training, assert_same, named, walk
from torchopt_notes import AdamW


def _through_state_dict(training):
    other = copy.copy(training)
    other.params = [torch.nn.Parameter(param.detach().clone()) for param in training.params]
    groups = [{"params": other.params[:2]}, {"params": other.params[2:]}]
    other.optimizer = type(training.optimizer)(groups, lr=9.0, backend=training.optimizer.backend, skip_nonfinite=True)
    file = io.BytesIO()
    torch.save(training.optimizer.state_dict(), file)
    file.seek(0)
    other.optimizer.load_state_dict(torch.load(file))
    return other


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda training: pickle.loads(pickle.dumps(training)),
    "state_dict": _through_state_dict,
}


@HOST_OR_DEVICE
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("schedule", ["b", "gbgb"])
@pytest.mark.parametrize("name", ["sgd-dampening", "nadam"])
def test_copies_do_not_know_of_a_skipped_step_either(name, schedule, way, backend, capturable):
    """Nor of one that would have been the first, which a rule without a count must still take as such."""
    training = Training(named(name), backend, capturable=capturable, skip_nonfinite=True)
    spared = Training(named(name), backend, capturable=capturable)
    walk(training, schedule)
    walk(spared, schedule.replace("b", ""))
    other = way(training)
    for run in (training, other, spared):
        run.step(10)
    other.step(11, spoiled_by=NAN)
    assert_same(training.numbers(), spared.numbers())
    assert_same(other.numbers(), spared.numbers())


def test_copies_keep_the_options():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([param], max_grad_norm=torch.tensor(2.0), grad_norm_type=1.0, skip_nonfinite=True)
    param.grad = torch.full((3,), NAN)
    optimizer.step()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert (other.max_grad_norm, other.grad_norm_type, other.skip_nonfinite) == (2.0, 1.0, True)
        assert other.max_grad_norm is not optimizer.max_grad_norm
        assert (other.grad_norm, other.skipped_steps) == (None, 0)
    optimizer.load_state_dict(AdamW([torch.nn.Parameter(torch.ones(3))]).state_dict())
    assert (optimizer.max_grad_norm, optimizer.grad_norm_type, optimizer.skip_nonfinite) == (2.0, 1.0, True)
    assert optimizer.skipped_steps == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_first_step_that_the_device_skipped_is_still_to_come_on_the_host(backend):
    runs = []
    for schedule in ("bb", ""):
        training = Training(named("sgd-dampening"), backend, capturable=True, skip_nonfinite=True)
        walk(training, schedule)
        for group in training.optimizer.param_groups:
            group["capturable"] = False
        training.optimizer.skip_nonfinite = False
        walk(training, "ggg")
        runs.append(training.numbers())
    assert_same(*runs)
