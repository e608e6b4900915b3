"""Deliberately wrong optimizers. Each check names the one that it must catch."""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import torch

_serial = itertools.count()


def _subclass(base: type, **members: Any) -> type:
    """A subclass with its base's name, which pickle finds all the same."""
    cls = type(base.__name__, (base,), members)
    cls.__module__, cls.__qualname__ = __name__, f"{base.__name__}{next(_serial)}"
    globals()[cls.__qualname__] = cls
    return cls


def _step_of(base: type) -> Callable[..., Any]:
    """The class's own step: torch wraps it in the hooks, which must not run twice, at the first construction."""
    return getattr(base.step, "__wrapped__", base.step)


def _after_step(change: Callable[[Any, torch.Tensor, torch.Tensor], None]) -> Callable[[type], type]:
    """Makes an optimizer that does something more to every parameter at every step."""

    def wrong(base: type) -> type:
        def step(self: Any, closure: Any = None) -> Any:
            params = [param for group in self.param_groups for param in group["params"]]
            old = [param.detach().clone() for param in params]
            result = _step_of(base)(self, closure)
            with torch.no_grad():
                for param, before in zip(params, old, strict=True):
                    change(self, param, before)
            return result

        return _subclass(base, step=step)

    return wrong


def _backwards(optimizer: Any, param: torch.Tensor, before: torch.Tensor) -> None:
    param.copy_(before + (before - param))


def _a_little_more(optimizer: Any, param: torch.Tensor, before: torch.Tensor) -> None:
    if param.device.type != "meta":
        param.mul_(1 + 1e-3)


def _only_the_first(optimizer: Any, param: torch.Tensor, before: torch.Tensor) -> None:
    if param is not optimizer.param_groups[0]["params"][0]:
        param.copy_(before)


def _conjugated(optimizer: Any, param: torch.Tensor, before: torch.Tensor) -> None:
    if param.is_complex():
        param.copy_(before + (param - before).conj())


def _with_another_gradient(optimizer: Any, param: torch.Tensor, before: torch.Tensor) -> None:
    param.grad.mul_(2)


ascends = _after_step(_backwards)
drifts = _after_step(_a_little_more)
forgets_the_others = _after_step(_only_the_first)
conjugates = _after_step(_conjugated)
spoils_gradients = _after_step(_with_another_gradient)


def refuses_nothing(base: type) -> type:
    """Takes whatever it is given."""

    def __init__(self: Any, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            base.__init__(self, params, *args, **kwargs)
        except Exception:
            torch.optim.Optimizer.__init__(self, [torch.nn.Parameter(torch.zeros(1))], {"lr": 0.0})

    return _subclass(base, __init__=__init__, step=lambda self: None)


def steps_over_anything(base: type) -> type:
    """Does nothing, rather than to refuse a step."""

    def step(self: Any, closure: Any = None) -> Any:
        try:
            return _step_of(base)(self, closure)
        except RuntimeError:
            return None

    return _subclass(base, step=step)


def _saves(change: Callable[[dict[str, Any]], None]) -> Callable[[type], type]:
    def wrong(base: type) -> type:
        def state_dict(self: Any) -> dict[str, Any]:
            saved = base.state_dict(self)
            saved = {**saved, "param_groups": [dict(group) for group in saved["param_groups"]]}
            saved["state"] = {key: dict(state) for key, state in saved["state"].items()}
            change(saved)
            return saved

        return _subclass(base, state_dict=state_dict)

    return wrong


def _without_a_state(saved: dict[str, Any]) -> None:
    saved["state"].pop(0, None)


def _at_random(saved: dict[str, Any]) -> None:
    saved["param_groups"][0]["lr"] = saved["param_groups"][0]["lr"] + next(_serial)


def _without_names(saved: dict[str, Any]) -> None:
    saved["param_groups"][0].pop("param_names", None)


def _no_tensors(saved: dict[str, Any]) -> None:
    saved["param_groups"][0]["lr"] = complex(float(saved["param_groups"][0]["lr"]))


saves_half = _saves(_without_a_state)
saves_at_random = _saves(_at_random)
saves_no_names = _saves(_without_names)
saves_another_type = _saves(_no_tensors)


def loads_nothing(base: type) -> type:
    """Stays as it was constructed."""
    return _subclass(base, load_state_dict=lambda self, state_dict: None)


def loads_as_it_is(base: type) -> type:
    """Fills in nothing that a checkpoint lacks, and mends nothing."""

    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        params = [param for group in self.param_groups for param in group["params"]]
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            kept = {"params": group["params"]}
            group.clear()
            group.update({**saved, **kept})
        self.state = defaultdict(dict, {params[i]: dict(state) for i, state in state_dict["state"].items()})

    return _subclass(base, load_state_dict=load_state_dict)


def loads_other_values(base: type) -> type:
    """Loads states of the right names, types and shapes."""

    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        base.load_state_dict(self, state_dict)
        for state in self.state.values():
            for value in state.values():
                value.add_(1)

    return _subclass(base, load_state_dict=load_state_dict)


def refuses_with_other_words(base: type) -> type:
    """Raises the right types of exceptions."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            base.__init__(self, *args, **kwargs)
        except Exception as error:
            raise type(error)("no") from error

    return _subclass(base, __init__=__init__)


def _without(*methods: str) -> Callable[[type], type]:
    """Registers nothing with these methods."""

    def handle() -> Any:
        return torch.utils.hooks.RemovableHandle(OrderedDict())

    def wrong(base: type) -> type:
        return _subclass(base, **{name: lambda self, hook, **more: handle() for name in methods})

    return wrong


ignores_step_hooks = _without("register_step_post_hook")
ignores_saving_hooks = _without("register_state_dict_pre_hook")
ignores_loading_hooks = _without("register_load_state_dict_post_hook")


def calls_no_closure(base: type) -> type:
    """Never evaluates the model."""
    return _subclass(base, step=lambda self, closure=None: _step_of(base)(self))


def keeps_gradients(base: type) -> type:
    """Clears none."""
    return _subclass(base, zero_grad=lambda self, set_to_none=True: None)


def copies_no_attributes(base: type) -> type:
    """Copies and pickles have lost the defaults."""

    def __getstate__(self: Any) -> dict[str, Any]:  # noqa: N807
        return {**base.__getstate__(self), "defaults": {}}

    return _subclass(base, __getstate__=__getstate__)


def prints_nothing(base: type) -> type:
    """Has no words for itself."""
    return _subclass(base, __repr__=lambda self: "")


def ignores_amp(base: type) -> type:
    """Takes every step, in the size that it finds."""
    return _subclass(base, may_skip=False, scales_gradients=False)


def takes_one_group(base: type) -> type:
    """Has no room for another."""

    def add_param_group(self: Any, param_group: dict[str, Any]) -> None:
        if not self.param_groups:
            base.add_param_group(self, param_group)

    return _subclass(base, add_param_group=add_param_group)


def reads_lr_once(base: type) -> type:
    """Goes on with the learning rate of its construction."""

    def hyper(self: Any, group: dict[str, Any]) -> Any:
        return base.hyper(self, {**group, "lr": self.defaults["lr"]})

    return _subclass(base, hyper=hyper)


def states_in_half(base: type) -> type:
    """Keeps states in bf16."""
    return _subclass(base, new_state=lambda self, name, group, param: base.new_state(self, name, group, param).half())


def lists_too_much(base: type) -> type:
    """Has a group key that torch's has not."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        base.__init__(self, *args, **kwargs)
        for group in self.param_groups:
            group["mine"] = 0

    return _subclass(base, __init__=__init__)


def always_needs_a_gpu(base: type) -> type:
    """Refuses what asks for other code."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        assert not any(kwargs.get(flag) for flag in ("foreach", "fused", "differentiable", "capturable"))
        base.__init__(self, *args, **kwargs)

    return _subclass(base, __init__=__init__)


def refuses_meta(base: type) -> type:
    """Raises something else than others do."""

    def step(self: Any, closure: Any = None) -> Any:
        raise KeyError("meta")

    return _subclass(base, step=step)


def says_it_is_fused(base: type) -> type:
    """Says that it always runs a fused step."""

    class Bucket:
        backend = "triton"

    return _subclass(base, explain=lambda self: [Bucket])


def copies_no_state(base: type) -> type:
    """Copies and pickles begin anew."""

    def __getstate__(self: Any) -> dict[str, Any]:  # noqa: N807
        return {**base.__getstate__(self), "state": defaultdict(dict)}

    return _subclass(base, __getstate__=__getstate__)
