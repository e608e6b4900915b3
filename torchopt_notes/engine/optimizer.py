"""The step: gather, transform, update. The base class of every optimizer here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from . import checks
from .backends import BACKENDS, Backend, Choice, choose
from .buckets import Bucket, Member, Plan, Runner, States
from .explain import Explanation
from .rule import Rule, Scalar, Variant
from .transform import decay_form


class Optimizer(torch.optim.Optimizer):
    """A :class:`torch.optim.Optimizer` whose step runs a :class:`~.rule.Rule` on any backend.

    A subclass supplies its rule and says how a parameter group maps onto it: :meth:`state_names`, :meth:`flags`,
    :meth:`hyper` and :meth:`check_group`. Everything else is written once, here and in the backends.

    Args:
        params: as for torch.
        defaults: the group keys and their default values.
        backend: ``"auto"``, ``"eager"``, ``"compiled"`` or ``"triton"``.
    """

    rule: ClassVar[Rule]
    has_step: ClassVar[bool] = True
    accepts_sparse: ClassVar[bool] = False

    def __init__(self, params: ParamsT, defaults: dict[str, Any], *, backend: Backend = "auto") -> None:
        name = type(self).__name__
        checks.one_of(name, "backend", backend, BACKENDS)
        self._backend: Backend = backend
        self._plan: Plan | None = None
        if not isinstance(params, (Tensor, dict)) and isinstance(params, Iterable):
            params = cast(ParamsT, list(params))
            if not params:
                raise ValueError(f"{name}: optimizer got an empty parameter list; pass at least one parameter")
        # Checked before the base class sees any group, so that the defaults are refused even where every group
        # overrides them, as in torch.
        self._check({**defaults, "params": []}, defaults)
        super().__init__(params, defaults)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them, without ``step``."""
        raise NotImplementedError

    def flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """The rule's compile-time choices: a named tuple of plain values."""
        raise NotImplementedError

    def hyper(self, group: dict[str, Any]) -> tuple[Scalar, ...]:
        """What the rule's ``scalars`` takes after the step: floats or 1-element tensors."""
        raise NotImplementedError

    @classmethod
    def check_group(cls, group: dict[str, Any]) -> None:
        """Raises when a value of ``group`` is not allowed."""
        raise NotImplementedError

    @classmethod
    def fill_group(cls, group: dict[str, Any]) -> None:
        """Adds the keys that checkpoints of older versions lack."""
        group.setdefault("maximize", False)
        group.setdefault("foreach", None)
        group.setdefault("differentiable", False)
        group.setdefault("fused", None)

    def group_rule(self, group: dict[str, Any]) -> Rule:
        """The rule that ``group`` follows; the class's, unless a group option chooses among several."""
        return self.rule

    @property
    def backend(self) -> Backend:
        """Who runs the rule. May be changed between steps: results stay the same, only the speed changes."""
        return self._backend

    @backend.setter
    def backend(self, value: Backend) -> None:
        checks.one_of(type(self).__name__, "backend", value, BACKENDS)
        for group in self.param_groups:
            self._check(group, self.defaults, backend=value)
        self._backend = value
        self._plan = None

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

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Updates every parameter that has a gradient.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The closure's loss, if one was given.

        Raises:
            RuntimeError: before anything is changed, for gradients or parameters that the optimizer cannot take.
        """
        # Once the compiler is loaded it may look at any frame, also where it does not trace at the moment.
        if torch.compiler.is_compiling() or "torch._dynamo" in sys.modules:
            return _outside_of_the_graph(self, closure)
        return self._step(closure)

    def _step(self, closure: Callable[[], float] | None) -> float | None:
        self._accelerator_graph_capture_check()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults["differentiable"])):
            for runner, grads, states in self._gather():
                runner.run(self, grads, states)
        return loss

    def _gather(self) -> list[tuple[Runner, list[Tensor], States]]:
        """This step's work, by bucket. No parameter is changed before all of it is known to be possible."""
        work = self._plan.gather(self) if self._plan is not None else None
        if work is None:
            self._plan = None
            plan = Plan(self)
            for bucket in plan.buckets:
                bucket.runner = _make_runner(bucket)
            work = plan.gather(self)
            assert work is not None, "a new plan fits the optimizer it was made from"
            self._plan = plan
        return work

    def variant(self, group: dict[str, Any]) -> Variant:
        """The choices in ``group`` that change the code."""
        return Variant(
            rule=self.group_rule(group),
            flags=self.flags(group),
            maximize=bool(group["maximize"]),
            decay=decay_form(group),
            differentiable=bool(group["differentiable"]),
            on_device=bool(group.get("capturable")),
            fused=bool(group["fused"]),
        )

    def choose(self, group: dict[str, Any], param: Tensor) -> Choice:
        """The backend of one parameter, and why.

        Raises:
            RuntimeError: when the parameter or its gradient cannot be handled as asked.
        """
        name, grad = type(self).__name__, param.grad
        if grad is not None and grad.is_sparse:
            if not self.accepts_sparse:
                raise RuntimeError(f"{name} does not support sparse gradients, please consider SparseAdam instead")
            if decay_form(group) != "none":
                raise RuntimeError(f"{name}: weight_decay is not possible with sparse gradients; set weight_decay=0")
        if param.is_meta:
            fused = "`fused=True` requires all the params to be floating point Tensors of supported devices; "
            raise RuntimeError(
                f"{name}: {fused if group['fused'] else ''}parameters on the meta device hold no data; "
                "move the model to a real device (to_empty) and initialise it first"
            )
        # 1 means that elements certainly share memory; an update in place would apply to them several times.
        if torch._debug_has_internal_overlap(param) == 1:
            raise RuntimeError(
                f"{name}: a parameter of shape {tuple(param.shape)} and strides {param.stride()} has several elements "
                "in the same memory (expanded?) and cannot be updated in place; optimize the tensor behind it"
            )
        return choose(name, self._backend, bool(group["fused"]), param, grad, bool(group["differentiable"]))

    def gather_states(self, bucket: Bucket) -> States:
        """The bucket's states, created where they are missing. Called when the step is known to be possible."""
        names = bucket.kind.state_names
        if not (self.has_step or names):
            return States([{}] * len(bucket.params), [], [], None)
        dicts = list(map(self.state.__getitem__, bucket.params))
        fresh = None
        try:
            columns = [[state[name] for state in dicts] for name in names]
            steps = [state["step"] for state in dicts] if self.has_step else []
        except KeyError:
            fresh = [self._create_state(member) for member in bucket.members]
            columns = [[state[name] for state in dicts] for name in names]
            steps = [state["step"] for state in dicts] if self.has_step else []
        return States(dicts, steps, columns, fresh)

    def _create_state(self, member: Member) -> bool:
        """Adds what is missing to one parameter's state; returns whether everything was."""
        param, group = member.param, self.param_groups[member.group]
        state = self.state[param]
        names = self.state_names(group)
        fresh: bool = state.keys().isdisjoint(names)
        if self.has_step and "step" not in state:
            state["step"] = self._new_step(0.0, param, group)
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return fresh

    @staticmethod
    def _new_step(value: float, param: Tensor, group: dict[str, Any]) -> Tensor:
        """A step count where torch keeps it: on the host, unless a fused or captured step needs it on the device."""
        on_device = group.get("capturable") or group["fused"]
        return torch.tensor(
            value,
            dtype=torch.float32 if group["fused"] else _step_dtype(),
            device=param.device if on_device else "cpu",
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, after checking its parameters and hyperparameters.

        Raises:
            TypeError: for something that is not a tensor, or an unordered set.
            ValueError: for duplicates, non-leaf or integer tensors, and values out of range.
            RuntimeError: for flags that exclude each other, or a backend that was asked for and is missing.
        """
        if isinstance(param_group, dict) and not isinstance(param_group.get("params"), set):
            params = param_group["params"]
            params = [params] if isinstance(params, Tensor) else list(params)
            param_group = {**param_group, "params": params}
            self._check({**self.defaults, **param_group}, self.defaults)
        super().add_param_group(param_group)

    def _check(self, group: dict[str, Any], defaults: dict[str, Any], *, backend: Backend | None = None) -> None:
        name, backend = type(self).__name__, backend or self._backend
        self.check_group(group)
        checks.exclusive_flags(name, group)
        if backend != "auto":
            if group["differentiable"] and backend != "eager":
                raise ValueError(f"{name}: differentiable=True needs backend='eager' or 'auto', got {backend!r}")
            if group["fused"] and backend == "eager":
                raise ValueError(f"{name}: fused=True excludes backend='eager'; leave one of them unset")
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in group["params"]]
        others = [p for g in getattr(self, "param_groups", []) if g is not group for p in g["params"]]
        checks.parameters(name, params, others, differentiable=bool(defaults["differentiable"]))
        for param in params:
            if not param.is_meta:
                choose(name, backend, bool(group["fused"]), param, None, bool(group["differentiable"]))

    def _accelerator_graph_capture_check(self) -> None:
        """Refuses to be captured in a CUDA graph while step counts or learning rates live on the host."""
        # Not is_available(): it asks the driver, and a process that never used CUDA captures nothing.
        if not (
            torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            and torch.cuda.is_current_stream_capturing()
        ):
            return
        for group in self.param_groups:
            if not group.get("capturable") and not all(
                isinstance(value, Tensor) and value.is_cuda for value in (group["lr"],)
            ):
                raise RuntimeError(
                    f"Attempting CUDA graph capture of step() for an instance of {type(self).__name__} "
                    "but param_groups' capturable is False."
                )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state dict of this optimizer or of its ``torch.optim`` counterpart.

        As torch's, except that a state keeps the floating-point dtype it was saved with: torch casts it to the
        parameter's, which would round fp32 moments of bf16 parameters.
        """
        loaded: dict[str, Any] = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, final: loaded.update(final))
        try:
            self._loading = loaded
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
            del self._loading

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_backend": self._backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plan = None
        self.__dict__.setdefault("_backend", "auto")
        for group in self.param_groups:
            self.fill_group(group)
            for param in group["params"]:
                if param in self.state:
                    self._mend_state(param, group)
        if hasattr(self, "_loading"):
            self._restore_dtypes(self._loading)

    def _mend_state(self, param: Tensor, group: dict[str, Any]) -> None:
        """Old checkpoints hold ``step`` as a number, and buffers that are still to be made as None."""
        state = self.state[param]
        for name in [name for name, value in state.items() if value is None]:
            del state[name]
        step = state.get("step")
        if step is not None and not isinstance(step, Tensor):
            state["step"] = self._new_step(float(step), param, group)

    def _restore_dtypes(self, loaded: dict[str, Any]) -> None:
        saved_ids = [saved for group in loaded["param_groups"] for saved in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for saved, param in zip(saved_ids, params, strict=True):
            for name, value in loaded["state"].get(saved, {}).items():
                current = self.state[param].get(name)
                if name != "step" and isinstance(value, Tensor) and value.dtype != current.dtype:
                    self.state[param][name] = value.to(current.device)


def _step_dtype() -> torch.dtype:
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


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
