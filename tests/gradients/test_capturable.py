"""``capturable=True``: a step never waits for the device, and comes to what it comes to otherwise."""

import pytest
import torch

from tests.gradients.common_amp import (
    QUIET,
    SPARSE,
    HostReadError,
    Training,
    assert_close,
    assert_same,
    everywhere,
    host_blindfolded,
    named,
)
from torchopt_notes import SGD, Adam, AdEMAMix, NAdam
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing import assert_parity
from torchopt_notes.testing.cases import CASES

WARM_UP = 2

pytestmark = QUIET


def watched(case, backend, **options):
    """A training that asks for all that might be read, with its numbers in tensors."""
    tensors = {"lr": torch.tensor(0.05), "max_grad_norm": torch.tensor(1.0)}
    training = Training(case, backend, skip_nonfinite=True, **(tensors | options))
    training.optimizer.grad_scale = torch.tensor(4.0)
    training.optimizer.found_inf = torch.tensor(0.0)
    return training


def change(training, step):
    """What user code does between steps, all of it in place."""
    training.optimizer.param_groups[0]["lr"].mul_(0.9)  # which all groups share
    training.optimizer.max_grad_norm.mul_(1.1)
    training.optimizer.grad_scale.mul_(2.0)
    training.optimizer.found_inf.fill_(float(step == WARM_UP + 1))


def test_every_optimizer_is_tried():
    assert {case.optimizer for case in (*CASES, SPARSE)} == set(optimizers().values())


@pytest.mark.parametrize(("case", "backend"), everywhere(capturable=True))
def test_a_step_reads_nothing_on_the_host(case, backend):
    training = watched(case, backend, capturable=True)
    for step in range(WARM_UP + 3):
        training.load(step, factor=training.optimizer.grad_scale.item())
        change(training, step)
        if step < WARM_UP:
            training.optimizer.step()
        else:
            with host_blindfolded():
                training.optimizer.step()
                norm, skipped = training.optimizer.grad_norm, training.optimizer.skipped_steps
    assert norm > 0
    assert skipped == 1
    assert all(value.isfinite().all() for value in training.numbers().values())


@pytest.mark.parametrize(("case", "backend"), everywhere([case for case in CASES if "capturable" not in case.kwargs]))
def test_the_guard_sees_a_step_that_reads(case, backend):
    """The negative control: on the host, counts or the decision about skipping are read."""
    training = watched(case, backend)
    for step in range(WARM_UP):
        training.step(step)
    with host_blindfolded(), pytest.raises(HostReadError):
        training.optimizer.step()


READS = {
    "item": lambda x: x.item(),
    "float": float,
    "bool": bool,
    "if": lambda x: 1 if x > 0 else 2,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "index": lambda x: [1, 2, 3][x.long()],
    "in": lambda x: x in [torch.zeros(())],
    "alpha": lambda x: torch.ones(3).add_(torch.ones(3), alpha=x),
    "fill": lambda x: torch.full((), x),
    "mask": lambda x: torch.ones(3)[torch.ones(3) > x],
    "max": lambda x: max(x, 0.0),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_guard_sees_every_way_to_read(read):
    number = torch.ones(())
    read(number)
    with host_blindfolded(), pytest.raises(HostReadError):
        read(number)
    read(number)


# NAdam's product is rounded once here, and twice by the host, as in torch.
@pytest.mark.parametrize(
    ("case", "backend"), everywhere([case for case in CASES if case.optimizer is not NAdam], capturable=True)
)
def test_results_are_those_of_a_step_that_may_read(case, backend):
    """Within the case's units of the exact step, while lr, a tensor, changes in place."""
    lr = torch.tensor(0.1, dtype=torch.float64)  # in fp32 the reference's own products with it would be rounded
    assert_parity(
        case.optimizer,
        case.optimizer,
        kwargs=case.kwargs,
        candidate_kwargs={"backend": backend, "capturable": True},
        shapes=((), (63,), (17, 31)),
        steps=3,
        ulp=case.units,
        lr_schedule=lambda step: lr.fill_(0.1 / step),
    )


@pytest.mark.parametrize(("case", "backend"), everywhere(capturable=True))
def test_parameters_that_have_taken_different_numbers_of_steps(case, backend):
    """Each has numbers of its own, also in one group: none must be taken for another's."""
    arrivals = (0, 1, 2, 1, 0)
    runs = []
    for name, flag in ((backend, True), ("eager", False)):
        params = [torch.nn.Parameter(torch.linspace(-1, 2, 6).reshape(2, 3)) for _ in arrivals]
        optimizer = case.optimizer(params, backend=name, **case.kwargs, capturable=flag)
        for step in range(4):
            for param, first in zip(params, arrivals, strict=True):
                param.grad = None if step < first else torch.linspace(2, -1, 6).reshape(2, 3) * (step - first + 1)
            optimizer.step()
        runs.append({str(i): param.detach() for i, param in enumerate(params)})
    assert_close(*runs)
    alike = runs[0]
    assert torch.equal(alike["0"], alike["4"])
    assert torch.equal(alike["1"], alike["3"])
    assert not torch.equal(alike["0"], alike["1"])
    assert not torch.equal(alike["1"], alike["2"])


@pytest.mark.parametrize("name", ["rprop", "asgd", "adamw", "adagrad-start"])
@pytest.mark.parametrize("skip_nonfinite", [False, True])
def test_nor_does_the_first_step_of_the_reference_read(name, skip_nonfinite):
    runs = []
    for lr in (torch.tensor(0.05), 0.05):
        training = Training(named(name), "eager", capturable=True, lr=lr, skip_nonfinite=skip_nonfinite)
        training.load(0)
        with host_blindfolded():
            training.optimizer.step()
        training.step(1)
        runs.append(training.numbers())
    assert_close(*runs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.complex64, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["rprop", "asgd"])
def test_states_that_start_from_a_tensor_start_from_its_value(name, dtype):
    runs = [
        Training(named(name), "eager", dtype=dtype, lr=lr) for lr in (torch.tensor([0.5], dtype=torch.float64), 0.5)
    ]
    for training in runs:
        training.step(0)
    assert_same(*[training.numbers() for training in runs])


def test_lengths_of_schedules_may_be_tensors():
    """They are read no more than lr is, and keep double precision: 1 - β₃ is a small difference."""
    runs = []
    for lengths in ((5.0, 8.0), (torch.tensor(5.0), torch.tensor(8.0))):
        for capturable in (False, True):
            param = torch.nn.Parameter(torch.linspace(-1, 1, 9))
            t_alpha, t_beta3 = lengths
            optimizer = AdEMAMix([param], lr=0.1, t_alpha=t_alpha, t_beta3=t_beta3, capturable=capturable)
            for step in range(6):
                param.grad = torch.linspace(1, 2, 9) * (step + 1)
                with host_blindfolded() if capturable else torch.no_grad():
                    optimizer.step()
            runs.append({"param": param.detach(), **optimizer.state[param]})
    for other in runs[1:]:
        assert_close(other, runs[0], rtol=1e-6, atol=1e-7)


def test_what_decides_about_a_step_stays_where_it_is():
    """Groups that are not capturable count on the device too, while another is, and steps may be skipped."""
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    groups = [{"params": params[:1], "capturable": True}, {"params": params[1:]}]
    optimizer = Adam(groups, lr=0.1, backend="eager", skip_nonfinite=True)
    for step in range(4):
        for param in params:
            param.grad = torch.full((3,), float("nan") if step == 2 else 1.0)
        with host_blindfolded():
            optimizer.step()
    assert optimizer.skipped_steps == 1
    assert [optimizer.state[param]["step"].item() for param in params] == [3, 3]
    assert_same({"param": params[0].detach()}, {"param": params[1].detach()})


def test_a_sparse_gradient_too():
    """Its rows are found by the host; whether the step is skipped is not."""
    runs = []
    for capturable in (False, True):
        param = torch.nn.Parameter(torch.ones(4, 2))
        optimizer = SGD([param], lr=0.1, momentum=0.9, dampening=0.3, capturable=capturable, skip_nonfinite=True)
        for step in range(4):
            grad = torch.zeros(4, 2)
            grad[1:3] = float("inf") if step in (0, 2) else 1.0
            param.grad = grad.to_sparse(1)
            optimizer.step()
        runs.append({"param": param.detach(), **optimizer.state[param]})
    assert_close(*runs)
