"""Every input goes in the right direction, and along torch's path."""

import torch

from tests.conformance import wrong
from tests.conformance.database import schedulers
from tests.conformance.harness import conforms, every_input, where
from tests.conformance.problems import assert_alike, assert_params, loss, run, set_gradients, weights


def assert_right_direction(subject, losses):
    first, last = losses[0], losses[-1]
    better = last > first if subject.kwargs.get("maximize") else last < first
    assert better, f"from a loss of {first} to {last}"


@conforms(wrong.ascends)
def test_the_loss_moves_in_the_right_direction(subject):
    """The loss falls, or rises with ``maximize``, for contiguous and other parameters, on torch's path."""
    paths = []
    for gaps in (False, True):
        mine, its = weights(gaps=gaps), weights(gaps=gaps)
        losses = run(subject, subject.make(mine), mine, 15)
        assert_right_direction(subject, losses)
        run(subject, subject.torchs(its), its, 15)
        assert_params(subject, mine, its)
        paths.append(mine)
    # Norms are summed in another order over memory with gaps, torch's too.
    torch.testing.assert_close(*paths, rtol=1e-4, atol=1e-5)


def scheduled(subject, *, ours):
    """Runs with each of torch's combinations of schedulers; the loss and learning rates must be as torch's."""
    pairs = zip(schedulers(subject.pair, ours=ours), schedulers(subject.pair, ours=False), strict=True)
    for mine, its in pairs:
        found = []
        for make, constructors in ((subject.make, mine), (subject.torchs, its)):
            params = weights()
            optimizer = make(params)
            made = [construct(optimizer) for construct in constructors]
            if ours and make == subject.make:
                assert all(type(scheduler).__module__.startswith("torchopt_notes") for scheduler in made)
            losses = run(subject, optimizer, params, 12, schedulers=made)
            found.append((params, losses, optimizer.param_groups[0]["lr"]))
        assert_right_direction(subject, found[0][1])
        torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-6, atol=0)
        if subject.exact and not ours:
            assert_params(subject, found[0][0], found[1][0])
        else:
            torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


@conforms(wrong.reads_lr_once, slow=True)
def test_torchs_schedulers_work(subject):
    """Under each of torch's combinations of schedulers the path and the learning rates are torch's."""
    scheduled(subject, ours=False)


@conforms(wrong.reads_lr_once, slow=True)
def test_our_schedulers_work(subject):
    """The same with the classes of ``torchopt_notes.lr_scheduler``."""
    scheduled(subject, ours=True)


@conforms(wrong.reads_lr_once, where(lambda pair: pair.info.supports_param_groups, every_input))
def test_parameter_groups_follow_a_scheduler_each_from_its_own_rate(subject):
    """Two groups with learning rates and decays of their own go along torch's path under a scheduler."""
    found = []
    for make in (subject.make, subject.torchs):
        params = weights()
        decay = {"weight_decay": 0.1} if subject.pair.takes("weight_decay") else {}
        rate = subject.kwargs.get("lr", 0.01)
        rate = rate.clone() if isinstance(rate, torch.Tensor) else rate
        optimizer = make([{"params": params[:1]}, {"params": params[1:], "lr": rate * 0.5, **decay}])
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, gamma=0.5, step_size=2)
        losses = run(subject, optimizer, params, 6, schedulers=[scheduler])
        assert_right_direction(subject, losses)
        found.append((params, optimizer))
    assert_alike(subject, *found)


def rosenbrock(params):
    """Curved and badly scaled; small enough for a learning rate of 0.01."""
    x, y = params[0].flatten()[:2]
    return ((1 - x) ** 2 + 100 * (y - x**2) ** 2) / 1000


@conforms(wrong.drifts, slow=True)
def test_every_step_on_rosenbrocks_function_equals_torchs(subject):
    """Parameters and states after each of 25 steps on Rosenbrock's function."""
    mine, its = ([torch.nn.Parameter(torch.tensor([[1.3, 1.5]]))] for _ in range(2))
    ours, theirs = subject.make(mine), subject.torchs(its)
    for _ in range(25):
        set_gradients(subject, its, rosenbrock)
        # Equal gradients: this is about the step, and the function would enlarge what rounding does.
        mine[0].grad = its[0].grad.clone()
        ours.step()
        theirs.step()
        assert_alike(subject, (mine, ours), (its, theirs))
        if not subject.exact:
            follow((mine, ours), (its, theirs))


def follow(mine, its):
    """Goes on from torch's numbers."""
    with torch.no_grad():
        for param, other in zip(mine[0], its[0], strict=True):
            param.copy_(other)
            for name, value in its[1].state.get(other, {}).items():
                mine[1].state[param][name].copy_(value)


def test_the_loss_is_least_squares():
    params = [torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])]
    assert loss(params) == (-1 + 2 + 3) ** 2
