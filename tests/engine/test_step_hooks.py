"""torch's wrapper around ``step`` is entered where somebody would notice it, and only there."""

import functools
import inspect
from unittest import mock

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from torchopt_notes import SGD
from torchopt_notes.engine import step_hooks


class Doubled(SGD):
    """Overrides ``step``; torch wraps that."""

    def step(self, closure=None):
        return super().step(closure)


class Copied(SGD):
    """Overrides ``step`` with a function that carries what ours does, which keeps torch from wrapping it."""

    @functools.wraps(SGD.step)
    def step(self, closure=None):
        return super().step(closure)


class Late(SGD):
    """Overrides ``step``, and is never made: torch learns nothing of it."""

    def step(self, closure=None):
        return super().step(closure)


def late(params, lr):
    optimizer = SGD(params, lr=lr)
    optimizer.__class__ = Late
    return optimizer


def _made(optimizer_class=SGD):
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    return optimizer_class([param], lr=0.1)


def _global(kind, calls):
    register = getattr(torch_optimizer, f"register_optimizer_step_{kind}_hook")
    return register(lambda opt, args, kwargs: calls.append((kind, len(args), sorted(kwargs))))


@pytest.mark.parametrize("optimizer_class", [SGD, Doubled, Copied, late, torch.optim.SGD])
@pytest.mark.parametrize("where", ["own", "global"])
def test_hooks_run_once_around_a_step(optimizer_class, where):
    """With the arguments as they were given: the closure by position, or by name."""
    calls = []
    optimizer = _made(optimizer_class)
    optimizer.step()
    if where == "own":
        handles = [
            getattr(optimizer, f"register_step_{kind}_hook")(
                lambda opt, args, kwargs, kind=kind: calls.append((kind, len(args), sorted(kwargs)))
            )
            for kind in ("pre", "post")
        ]
    else:
        handles = [_global(kind, calls) for kind in ("pre", "post")]
    assert optimizer.step(lambda: 2.0) == 2.0
    assert calls == [("pre", 2, []), ("post", 2, [])]
    optimizer.step(closure=lambda: 2.0)
    assert [kind for kind, *_ in calls[2:]] == ["pre", "post"]
    if optimizer_class in (SGD, Doubled, torch.optim.SGD):  # the others pass it on as they like
        assert calls[2:] == [("pre", 1, ["closure"]), ("post", 1, ["closure"])]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4


def test_a_hook_may_change_the_arguments():
    optimizer = _made()
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 7.0), {}))
    assert optimizer.step() == 7.0


@pytest.mark.parametrize("optimizer_class", [SGD, Doubled])
def test_a_profiler_sees_the_step(optimizer_class):
    optimizer = _made(optimizer_class)
    with torch.autograd.profiler.profile() as profile:
        optimizer.step()
    names = [event.name for event in profile.function_events]
    assert names.count(f"Optimizer.step#{optimizer_class.__name__}.step") == 1


def test_nobody_notices():
    """Without a hook or a profiler the wrapper is left out; with one it is not."""
    optimizer = _made()
    with mock.patch("torch.autograd.profiler.record_function") as record:
        optimizer.step()
        assert not record.called
        optimizer.register_step_post_hook(lambda *_: None)
        optimizer.step()
        assert record.called


def test_torch_wraps_nothing_of_ours():
    """The class keeps the function, with the signature that it was written with."""
    optimizer = _made()
    assert "step" not in vars(SGD)
    assert SGD.step.__code__.co_filename == step_hooks.__file__
    assert list(inspect.signature(optimizer.step).parameters) == ["closure"]


def test_a_scheduler_and_compiled_callers_see_hooks_too():
    """torch's schedulers replace ``step`` on the object; torch.compile traces its caller."""
    calls = []
    optimizer = _made()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    optimizer.step()
    scheduler.step()
    torch.compile(lambda: optimizer.step(), backend="eager")()
    assert calls == ["post", "post"]
