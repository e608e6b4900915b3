"""Hooks are called when torch calls them, and may change what torch lets them change."""

import contextlib

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from tests.conformance import wrong
from tests.conformance.harness import conforms, one_input
from tests.conformance.problems import assert_params, assert_saved, run, set_gradients, weights


def compare(subject, record):
    """What ``record`` notes with our optimizer and with torch's."""
    mine, its = (list(record(make)) for make in (subject.make, subject.torchs))
    assert mine == its, f"{mine} instead of {its}"


@conforms(wrong.ignores_step_hooks)
def test_step_hooks_fire_in_torchs_order(subject):
    """Global and own hooks before and after a step, and what they are given; a removed hook stays silent."""

    def record(make):
        calls = []
        params = weights()
        optimizer = make(params)
        start = params[0].detach().clone()

        def note(name):
            def hook(given, args, kwargs):
                assert given is optimizer
                calls.append((name, args[1:], kwargs, torch.equal(params[0], start)))

            return hook

        with contextlib.ExitStack() as stack:
            for name in ("first", "second"):
                for register in (register_optimizer_step_pre_hook, register_optimizer_step_post_hook):
                    stack.callback(register(note(f"{name} of all, {register.__name__}")).remove)
                optimizer.register_step_pre_hook(note(f"{name}, before"))
                optimizer.register_step_post_hook(note(f"{name}, after"))
            removed = optimizer.register_step_pre_hook(note("removed"))
            run(subject, optimizer, params, 1)
            removed.remove()
            start.copy_(params[0].detach())
            run(subject, optimizer, params, 1)
        run(subject, optimizer, params, 1)
        return calls

    compare(subject, record)


@conforms(wrong.calls_no_closure)
def test_a_hook_may_give_a_step_its_arguments(subject):
    """A hook before the step replaces the arguments, here the closure; what the closure returns is returned."""

    def record(make):
        calls = []
        params = weights()
        optimizer = make(params)

        def closure():
            calls.append("closure")
            calls.append(torch.is_grad_enabled())
            return set_gradients(subject, params)

        optimizer.register_step_pre_hook(lambda opt, args, kwargs: (args, {**kwargs, "closure": closure}))
        with torch.no_grad():
            value = optimizer.step()
        return [*calls, type(value), None if value is None else value.item()]

    compare(subject, record)


@conforms(wrong.ignores_saving_hooks)
def test_hooks_see_and_replace_what_is_saved(subject):
    """State dict hooks run in torch's order, with and without ``prepend``; one after it may return another dict."""

    def record(make):
        calls = []
        params = weights()
        optimizer = make(params)
        run(subject, optimizer, params, 1)
        optimizer.register_state_dict_pre_hook(lambda opt: calls.append("before"))
        optimizer.register_state_dict_pre_hook(lambda opt: calls.append("before all"), prepend=True)
        optimizer.register_state_dict_post_hook(lambda opt, saved: calls.append(sorted(saved)))
        optimizer.register_state_dict_post_hook(lambda opt, saved: {**saved, "more": 1})
        optimizer.register_state_dict_post_hook(lambda opt, saved: calls.append("first"), prepend=True)
        return [*calls, sorted(optimizer.state_dict()), *calls]

    compare(subject, record)


@conforms(wrong.ignores_loading_hooks)
def test_hooks_see_and_replace_what_is_loaded(subject):
    """Hooks of loading run in torch's order; one before it may return another dict, and does not change the given."""

    def record(make):
        calls = []
        params = weights()
        optimizer = make(params)
        run(subject, optimizer, params, 1)
        saved = optimizer.state_dict()

        def replace(opt, given):
            calls.append("replace")
            groups = [{**group, "lr": 0.75} for group in given["param_groups"]]
            return {**given, "param_groups": groups}

        def after(opt):
            calls.append(("after", float(opt.param_groups[0]["lr"])))

        optimizer.register_load_state_dict_pre_hook(replace)
        optimizer.register_load_state_dict_pre_hook(lambda *_: calls.append("before all"), prepend=True)
        optimizer.register_load_state_dict_post_hook(after)
        optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("first after"), prepend=True)
        optimizer.load_state_dict(saved)
        calls.append(float(saved["param_groups"][0]["lr"]))
        return calls

    compare(subject, record)


@conforms(wrong.loads_nothing)
def test_hooks_see_the_whole_of_a_checkpoint(subject):
    """A hook that negates the states on the way out and one that does it again on the way in leave what there was."""

    def negated(optimizer, saved):
        state = {
            key: {name: -value if torch.is_tensor(value) and value.dim() else value for name, value in state.items()}
            for key, state in saved["state"].items()
        }
        return {**saved, "state": state}

    params = weights()
    optimizer = subject.make(params)
    run(subject, optimizer, params, 2)
    plain = optimizer.state_dict()
    optimizer.register_state_dict_post_hook(negated)
    other = subject.make(weights())
    other.register_load_state_dict_pre_hook(negated)
    other.load_state_dict(optimizer.state_dict())
    assert_saved(subject, other.state_dict(), plain)


@conforms(wrong.keeps_gradients, one_input)
def test_gradients_are_cleared_as_torch_clears_them(subject):
    """``zero_grad`` drops gradients, or fills them with zeros."""

    def record(make):
        params = weights()
        optimizer = make(params)
        for kwargs in ({"set_to_none": False}, {}):
            set_gradients(subject, params)
            optimizer.zero_grad(**kwargs)
            yield [None if p.grad is None else float(p.grad.to_dense().abs().sum()) for p in params]

    compare(subject, record)


@conforms(wrong.calls_no_closure, one_input)
def test_a_closure_is_evaluated_before_the_step(subject):
    """The closure runs with gradients enabled, its loss is returned, and the step uses its gradients."""
    mine, its = weights(), weights()
    values = []
    for make, params in ((subject.make, mine), (subject.torchs, its)):
        with torch.no_grad():
            values.append(make(params).step(lambda params=params: set_gradients(subject, params)))
    assert values[0] == values[1]
    assert_params(subject, mine, its)
