"""A parameter's state: created when its first gradient arrives, saved and loaded as torch does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from .buckets import States

if TYPE_CHECKING:
    from .buckets import Bucket, Member


class StatefulOptimizer(torch.optim.Optimizer):
    """What an optimizer here keeps per parameter, and how it survives checkpoints, copies and pickling."""

    has_step: ClassVar[bool] = True
    _backend: str
    _created: dict[Tensor, list[str]]

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them, without ``step``."""
        raise NotImplementedError

    @classmethod
    def fill_group(cls, group: dict[str, Any]) -> None:
        """Adds the keys that checkpoints of older versions lack."""
        group.setdefault("maximize", False)
        group.setdefault("foreach", None)
        group.setdefault("differentiable", False)
        group.setdefault("fused", None)

    def gather_states(self, bucket: Bucket) -> States:
        """The bucket's states, created where they are missing."""
        names = bucket.kind.state_names
        if not (self.has_step or names):
            return States([{}] * len(bucket.params), [], [], None)
        dicts = list(map(self.state.__getitem__, bucket.params))
        try:
            columns = [[state[name] for state in dicts] for name in names]
            steps = [state["step"] for state in dicts] if self.has_step else []
        except KeyError:
            for member in bucket.members:
                self._create(member)
            columns = [[state[name] for state in dicts] for name in names]
            steps = [state["step"] for state in dicts] if self.has_step else []
        for name, column in zip(names, columns, strict=True):
            if list(map(Tensor.numel, column)) != bucket.numels:
                bucket.check_state(name, column)
        fresh = [param in self._created for param in bucket.params] if self._created else None
        return States(dicts, steps, columns, fresh)

    def discard_created(self) -> None:
        """Takes back the states that were created for a step that was then refused."""
        for param, names in self._created.items():
            for name in names:
                del self.state[param][name]
            if not self.state[param]:
                del self.state[param]
        self._created.clear()

    def _create(self, member: Member) -> None:
        """Adds what is missing to one parameter's state."""
        param, group = member.param, self.param_groups[member.group]
        state = self.state[param]
        names = self.state_names(group)
        missing = [name for name in (("step", *names) if self.has_step else names) if name not in state]
        if state.keys().isdisjoint(names):
            self._created[param] = missing
        for name in missing:
            if name == "step":
                state[name] = _new_step(0.0, param, group)
            else:
                state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def _forget(self) -> None:
        """Drops what was planned; the next step plans anew."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state dict of this optimizer or of its ``torch.optim`` counterpart.

        As torch's, except that a state keeps the floating-point dtype it was saved with: torch casts it to the
        parameter's, which would round fp32 moments of bf16 parameters. The groups' flags are loaded too, as in torch;
        the backend is not part of a checkpoint, and a backend that was asked for by name goes before ``fused``.
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
        self.__dict__.setdefault("_backend", "auto")
        self.__dict__.setdefault("_captured", set())
        self._created = {}
        self._forget()
        for group in self.param_groups:
            self.fill_group(group)
            for param in group["params"]:
                if param in self.state:
                    self._mend(param, group)
        if hasattr(self, "_loading"):
            self._restore_dtypes(self._loading)

    def _mend(self, param: Tensor, group: dict[str, Any]) -> None:
        """Old checkpoints hold ``step`` as a number, and buffers that are still to be made as None."""
        state = self.state[param]
        for name in [name for name, value in state.items() if value is None]:
            del state[name]
        step = state.get("step")
        if step is not None and not isinstance(step, Tensor):
            state["step"] = _new_step(float(step), param, group)

    def _restore_dtypes(self, loaded: dict[str, Any]) -> None:
        saved_ids = [saved for group in loaded["param_groups"] for saved in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for saved, param in zip(saved_ids, params, strict=True):
            for name, value in loaded["state"].get(saved, {}).items():
                current = self.state[param].get(name)
                if name != "step" and isinstance(value, Tensor) and value.dtype != current.dtype:
                    self.state[param][name] = value.to(current.device)


def _new_step(value: float, param: Tensor, group: dict[str, Any]) -> Tensor:
    """A step count where torch keeps it: on the host, unless a fused or captured step needs it on the device."""
    wide = torch.get_default_dtype() == torch.float64 and not group["fused"]
    device = param.device if group.get("capturable") or group["fused"] else torch.device("cpu")
    return torch.full((), value, dtype=torch.float64 if wide else torch.float32, device=device)
