"""The step: gather, transform, update. The base class of every optimizer here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Unpack, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from . import checks
from .backends import BACKENDS, Backend, Choice, choose, unsuited
from .buckets import Bucket, Runner, Work
from .device_array import capturing
from .explain import Explanation
from .group_options import GroupOptions
from .options import GROUP_OPTIONS, REFERENCE_LR, USUAL, EngineOptions, option, unusual
from .plan import Plan
from .ruled import RuledOptimizer
from .scalars import keep_reference
from .step_hooks import compiler_looks_at_frames, hooked_where_noticed
from .transform import Signal, is_zero


class Optimizer(RuledOptimizer):
    """A :class:`torch.optim.Optimizer` whose step runs a :class:`~.rule.Rule` on any backend.

    A subclass supplies its rule and says how a parameter group maps onto it: :meth:`state_names`, :meth:`flags`,
    :meth:`hyper` and :meth:`check_group`. Everything else is written once, here and in the backends.

    Args:
        params: parameters or named parameters, dicts of parameter groups, or a module (its named parameters).
        defaults: the group keys and their default values.
        options: what every optimizer takes.
    """

    _plan: Plan | None

    def __init__(
        self, params: ParamsT | torch.nn.Module, defaults: dict[str, Any], **options: Unpack[EngineOptions]
    ) -> None:
        name = type(self).__name__
        backend: Backend = options.get("backend", "auto")
        if unknown := options.keys() - EngineOptions.__annotations__.keys():
            raise TypeError(f"{name}: unexpected keyword arguments {sorted(unknown)}")
        checks.one_of(name, "backend", backend, BACKENDS)
        defaults = defaults | unusual(**{key: value for key, value in options.items() if key in GROUP_OPTIONS})
        self._take_control(options)
        self._backend: Backend = backend
        vars(self).update(self.transient())
        self._created: dict[Tensor, list[str]] = {}
        self._hidden: dict[Tensor, Tensor] = {}
        self._undecided: set[Tensor] = set()
        self._forget()
        if isinstance(params, torch.nn.Module):
            params = params.named_parameters()
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{name}: params must be an iterable of Tensors or dicts, such as model.parameters(); "
                f"got {type(params).__name__}"
            )
        if not isinstance(params, (Tensor, dict)):
            params = cast(ParamsT, list(params))
            if not params:
                raise ValueError(f"{name}: optimizer got an empty parameter list; pass at least one parameter")
        # Checked before the base class sees any group, so that the defaults are refused even where every group
        # overrides them, as in torch.
        self._check({**defaults, "params": []}, defaults)
        super().__init__(params, defaults)

    @property
    def backend(self) -> Backend:
        """Who runs the rule. May be changed between steps: results stay the same, only the speed changes."""
        return self._backend

    @backend.setter
    def backend(self, value: Backend) -> None:
        checks.one_of(type(self).__name__, "backend", value, BACKENDS)
        for group in self.param_groups:
            self._check_backend(group, group["params"], value)
        self._backend = value
        self._forget()

    def explain(self) -> Explanation:
        """Which backend serves which parameters, and why: one row per bucket, printable as a table.

        Before the first backward pass, every parameter is counted as if it had a gradient.

        Raises:
            RuntimeError: when a backend that was asked for cannot serve a parameter.
        """
        every = all(p.grad is None for group in self.param_groups for p in group["params"])
        return Explanation.of(type(self).__name__, Plan(self, every=every).buckets)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @hooked_where_noticed
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Updates every parameter that has a gradient.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The closure's loss, if one was given.

        Raises:
            RuntimeError: before anything is changed, for gradients or parameters that the optimizer cannot take.
        """
        if torch.compiler.is_compiling() or compiler_looks_at_frames():
            return _outside_of_the_graph(self, closure)
        return self._step(closure)

    def _step(self, closure: Callable[[], float] | None) -> float | None:
        if capturing():
            checks.capture(type(self).__name__, self.param_groups, counts=self.has_step)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            work, signals = self._prepare()
            if signals is None:
                self.discard_created()
                return loss
            try:
                for runner, grads, states in work:
                    runner.run(self, grads, states, signals[runner.bucket.kind.device])
            finally:
                self._created.clear()
        return loss

    def _prepare(self) -> tuple[Work, dict[torch.device, Signal] | None]:
        """This step's work by bucket, and what all gradients decided by device; None if nothing is to change.

        No parameter is changed before all of it is known to be possible.
        """
        try:
            for group in self.param_groups:
                if group.get("decouple_lr") and REFERENCE_LR not in group:  # asked for after construction
                    checks.transform_options(type(self).__name__, group, decoupled=self.is_decoupled(group))
                    keep_reference(group)
            work = self._plan.gather(self) if self._plan is not None else None
            if work is None:
                work = self._plan_anew()
            signals = self._decide(work)
        except BaseException:
            # A runner may have noted where things are before it refused them; the next step must look at all again.
            self.discard_created()
            self._forget()
            raise
        if capturing():
            # The graph reads these runners' tables at every replay, also when a new plan has replaced them here.
            self._captured.update(runner for runner, _, _ in work)
        return work, signals

    def _plan_anew(self) -> Work:
        # The second attempt is for a compiler that turned out not to work, and is then not planned with.
        for _ in range(2):
            old, self._plan = self._plan, Plan(self)
            for bucket in self._plan.buckets:
                bucket.runner = _make_runner(bucket)
            if old is not None:
                old.release(self)
            work = self._plan.gather(self)
            if work is not None:
                return work
        raise AssertionError("a new plan fits the optimizer it was made from")

    def planned_options(self) -> GroupOptions:
        """The options of the parameter groups at this step."""
        assert self._plan is not None, "asked for while a step is carried out"
        return self._plan.options

    def planned_params(self) -> Iterator[Tensor]:
        """The parameters of the current plan's buckets."""
        return chain.from_iterable(bucket.params for bucket in self._plan.buckets) if self._plan else iter(())

    def _forget(self) -> None:
        """Drops what was planned; the next step plans anew."""
        self._plan = None

    def choose(self, group: dict[str, Any], param: Tensor, *, shares_memory: bool) -> Choice:
        """The backend of one parameter, and why.

        Raises:
            RuntimeError: when the parameter or its gradient cannot be handled as asked.
        """
        name, grad = type(self).__name__, param.grad
        if grad is not None and grad.is_sparse:
            if (refusal := self.refuses_sparse(group)) is not None:
                raise RuntimeError(f"{name} {refusal}")
            for argument in ("weight_decay", "l1", "adaptive_clip"):
                if (value := option(group, argument)) is not None and not is_zero(value):
                    raise RuntimeError(
                        f"{name}: {argument} is not possible with sparse gradients, which say nothing about most "
                        f"weights; set {argument}={USUAL[argument]}"
                    )
        checks.orderless(name, group, [param])  # again: options may have come after construction
        checks.updatable(name, param, grad, fused=bool(group.get("fused")))
        why_eager = "differentiable" if group.get("differentiable") else unsuited(param, grad)
        if shares_memory:
            why_eager = why_eager or "memory shared with another parameter"
        return choose(name, self._backend, bool(group.get("fused")), param, why_eager)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, after checking its parameters and hyperparameters.

        Raises:
            TypeError: for something that is not a tensor, or an unordered set.
            ValueError: for duplicates, non-leaf tensors, and values out of range.
            RuntimeError: for flags that exclude each other, or a backend that was asked for and is missing.
        """
        if isinstance(param_group, dict) and not isinstance(param_group.get("params"), set):
            if "params" not in param_group:
                raise ValueError(f"{type(self).__name__}: a parameter group needs 'params', got {sorted(param_group)}")
            params = param_group["params"]
            params = [params] if isinstance(params, Tensor) else list(params)
            param_group = {**param_group, "params": params}
            self._check({**self.defaults, **param_group}, self.defaults)
        super().add_param_group(param_group)
        keep_reference(self.param_groups[-1])

    def _check(self, group: dict[str, Any], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        self.check_group(group)
        checks.exclusive_flags(name, group)
        checks.transform_options(name, group, decoupled=self.is_decoupled(group))
        checks.supported(name, group, self.unsupported)
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in group["params"]]
        others = [p for g in getattr(self, "param_groups", []) if g is not group for p in g["params"]]
        checks.orderless(name, group, params)
        checks.parameters(name, params, others, differentiable=bool(defaults.get("differentiable")))
        self._check_backend(group, params, self._backend)

    def _check_backend(self, group: dict[str, Any], params: Sequence[Tensor], backend: Backend) -> None:
        name = type(self).__name__
        if backend != "auto":
            if group.get("differentiable") and backend != "eager":
                raise ValueError(f"{name}: differentiable=True needs backend='eager' or 'auto', got {backend!r}")
            if group.get("fused") and backend == "eager":
                raise ValueError(f"{name}: fused=True excludes backend='eager'; leave one of them unset")
        fused = bool(group.get("fused"))
        for param in params:
            frozen = not (fused or param.is_floating_point() or param.is_complex())  # never updated by any backend
            if not (param.is_meta or frozen):
                why_eager = "differentiable" if group.get("differentiable") else unsuited(param, None)
                choose(name, backend, fused, param, why_eager)


def _make_runner(bucket: Bucket) -> Runner:
    # Imported here: neither triton nor torch's compiler is loaded before a step needs it.
    if bucket.kind.backend == "triton":
        from .fused import FusedRunner

        return FusedRunner(bucket)
    if bucket.kind.backend == "compiled":
        from .compiled import CompiledRunner

        return CompiledRunner(bucket)
    from .eager import EagerRunner

    return EagerRunner(bucket)


# Not torch.compiler.disable: that would import the compiler right here.
@torch._disable_dynamo  # type: ignore[attr-defined]
def _outside_of_the_graph(optimizer: Optimizer, closure: Callable[[], float] | None) -> float | None:
    return optimizer._step(closure)
