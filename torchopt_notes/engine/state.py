"""A parameter's state: created when its first gradient arrives, saved and loaded as torch does it."""

from __future__ import annotations

import inspect
from collections import defaultdict
from itertools import compress
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from .buckets import Member, States
from .options import GROUP_OPTIONS, USUAL

if TYPE_CHECKING:
    from .buckets import Bucket
    from .rule import Rule, Scalar


KEPT: dict[str, Any] = {
    "_backend": "auto",
    "_max_grad_norm": None,
    "_grad_norm_type": 2.0,
    "_skip_nonfinite": False,
    "decided_on_host": False,
}
"""The optimizer's own attributes that copies and pickles keep, and what they are in those of older versions."""


class StatefulOptimizer(torch.optim.Optimizer):
    """What an optimizer here keeps per parameter, and how it survives checkpoints, copies and pickling."""

    rule: ClassVar[Rule]
    has_step: ClassVar[bool] = True
    _backend: str
    _created: dict[Tensor, list[str]]
    _hidden: dict[Tensor, Tensor]
    _undecided: set[Tensor]

    def state_names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of a parameter, in the order in which the rule takes them, without 0-d counts."""
        raise NotImplementedError

    def new_state(self, name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        """A state tensor as it is before the first step: zeros like the parameter, unless the rule needs another."""
        return torch.zeros_like(param, memory_format=torch.preserve_format)

    def state_dtype(self, name: str, group: dict[str, Any], param: Tensor) -> torch.dtype:
        """The dtype of a state that is still to be made."""
        return param.dtype

    def new_count(self, name: str, group: dict[str, Any]) -> Scalar:
        """What ``step``, or a 0-d state that the rule carries on, is before the first step."""
        return 0.0

    def count_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """``step`` and the 0-d states that the rule carries on."""
        return ("step", *self.group_rule(group).carried) if self.has_step else ()

    def group_rule(self, group: dict[str, Any]) -> Rule:
        """The rule that ``group`` follows; the class's, unless a group option chooses among several."""
        return self.rule

    def fill_group(self, group: dict[str, Any]) -> None:
        """Adds the keys that checkpoints of older versions lack, with the meaning that they had then."""
        arguments = inspect.signature(type(self).__init__).parameters
        usual = USUAL | {name: p.default for name, p in arguments.items() if p.default is not p.empty}
        # What torch's checkpoints know nothing about stays as the optimizer was constructed.
        usual |= {name: self.defaults[name] for name in GROUP_OPTIONS if name in self.defaults}
        for name in self.defaults:
            if name in usual:
                group.setdefault(name, usual[name])

    def gather_states(self, bucket: Bucket, dicts: list[dict[str, Any]] | None = None) -> States:
        """The bucket's states, created where they are missing.

        Args:
            dicts: each parameter's state, where that is known; else it is looked up.
        """
        names, carried = bucket.kind.state_names, bucket.kind.variant.rule.carried
        if not (self.has_step or names):
            return States([{}] * len(bucket.params), [], [], None, [])
        if dicts is None:
            dicts = list(map(self.state.__getitem__, bucket.params))
        if self._undecided and not bucket.kind.variant.on_device:
            self._settle_first_steps(bucket)
        try:
            columns, steps, counts = self._columns(dicts, names, carried)
        except KeyError:
            for member in bucket.members:
                self._create(member)
            columns, steps, counts = self._columns(dicts, names, carried)
        if bucket.kind.variant.on_device and any(count.device != bucket.kind.device for count in steps):
            for state in dicts:
                state |= {name: state[name].to(bucket.kind.device) for name in ("step", *carried)}
            columns, steps, counts = self._columns(dicts, names, carried)
        bucket.settle_states(columns)
        fresh = None
        if self._created:
            fresh = [set(names) <= set(self._created.get(param, ())) for param in bucket.params]
        if bucket.kind.variant.on_device and not self.has_step:
            steps = self.hidden_counts(bucket.params, fresh)
            if fresh is not None and bucket.kind.variant.transform.guarded:
                self._undecided.update(compress(bucket.params, fresh))
        return States(dicts, steps, columns, fresh, counts)

    def _columns(
        self, dicts: list[dict[str, Any]], names: tuple[str, ...], carried: tuple[str, ...]
    ) -> tuple[list[list[Tensor]], list[Tensor], list[list[Tensor]]]:
        columns = [[state[name] for state in dicts] for name in names]
        steps = [state["step"] for state in dicts] if self.has_step else []
        return columns, steps, [[state[name] for state in dicts] for name in carried]

    def hidden_counts(self, params: list[Tensor], fresh: list[bool] | None) -> list[Tensor]:
        """Step counts of a rule that keeps none in its state, for where only the device knows whether a step was taken.

        Counted from 1 for states that are not new: a rule without a count looks at its first step alone.
        """
        for i, param in enumerate(params):
            count = self._hidden.get(param)
            if (fresh is not None and fresh[i]) or count is None or count.device != param.device:
                first = fresh is not None and fresh[i]
                self._hidden[param] = torch.full((), 0.0 if first else 1.0, device=param.device)
        return [self._hidden[param] for param in params]

    def _settle_first_steps(self, bucket: Bucket) -> None:
        """Counts states as new whose first step was skipped, where that is no longer the device's business."""
        for param in self._undecided.intersection(bucket.params):
            if self._hidden[param].item() == 0:
                self._created[param] = list(bucket.kind.state_names)
            self._undecided.remove(param)

    def _unbegun(self) -> set[Tensor]:
        """The parameters whose states are still new to a rule that keeps no count, since their first step was skipped.

        Checkpoints and copies go without these states: nothing there could tell that they are new.
        """
        return {param for param in self._undecided if self._hidden[param].item() == 0}

    def create_states(self, group: dict[str, Any]) -> None:
        """Makes the states of a group's parameters now, rather than with their first gradient."""
        index = next(i for i, other in enumerate(self.param_groups) if other is group)  # == would compare tensors
        for param in group["params"]:
            self._create(Member(param, index, ""))
        self._created.clear()

    def discard_created(self) -> None:
        """Takes back the states that were created for a step that was then refused."""
        for param, names in self._created.items():
            for name in names:
                self.state[param].pop(name, None)  # what refused the step may be that it could not be made
            if not self.state[param]:
                del self.state[param]
        self._created.clear()

    def _create(self, member: Member) -> None:
        """Adds what is missing to one parameter's state."""
        param, group = member.param, self.param_groups[member.group]
        state = self.state[param]
        counts, names = self.count_names(group), self.state_names(group, param)
        missing = [name for name in (*counts, *names) if name not in state]
        if missing:
            self._created[param] = missing
        for name in missing:
            if name in counts:
                state[name] = _new_count(self.new_count(name, group), param, group)
            else:
                state[name] = self.new_state(name, group, param)

    def transient(self) -> dict[str, Any]:
        """The attributes that copies and pickles begin without."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drops what was planned; the next step plans anew."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """As torch's."""
        saved = super().state_dict()
        unbegun = self._unbegun()
        for index, param in enumerate(param for group in self.param_groups for param in group["params"]):
            if param in unbegun:
                saved["state"].pop(index, None)
        return saved

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
        kept = {**super().__getstate__(), **{name: getattr(self, name) for name in KEPT}}
        if unbegun := self._unbegun():
            states = {param: state for param, state in self.state.items() if param not in unbegun}
            kept["state"] = defaultdict(dict, states)
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = dict(state.get("defaults", self.__dict__.get("defaults", {})))
        super().__setstate__(state)
        self.defaults = defaults  # torch adds a key that not all groups have
        for name, value in (KEPT | self.transient()).items():
            self.__dict__.setdefault(name, value)
        self._created = {}
        self._hidden, self._undecided = {}, set()
        self._forget()
        for group in self.param_groups:
            self.fill_group(group)
            for param in group["params"]:
                if param in self.state:
                    self._mend(param, group)
        if hasattr(self, "_loading"):
            self._restore_dtypes(self._loading)

    def _mend(self, param: Tensor, group: dict[str, Any]) -> None:
        """Old checkpoints hold counts as numbers, and buffers that are still to be made as None."""
        state = self.state[param]
        for name in [name for name, value in state.items() if value is None]:
            del state[name]
        for name in self.count_names(group):
            if name in state and not isinstance(state[name], Tensor):
                state[name] = _new_count(float(state[name]), param, group)

    def _restore_dtypes(self, loaded: dict[str, Any]) -> None:
        saved_ids = [saved for group in loaded["param_groups"] for saved in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for saved, param in zip(saved_ids, params, strict=True):
            for name, value in loaded["state"].get(saved, {}).items():
                current = self.state[param].get(name)
                if name != "step" and isinstance(value, Tensor) and value.dtype != current.dtype:
                    self.state[param][name] = value.to(current.device)


def _new_count(value: Scalar, param: Tensor, group: dict[str, Any]) -> Tensor:
    """A count where torch keeps it: on the host, unless a fused or captured step needs it on the device."""
    fused = group.get("fused")
    dtype = torch.float64 if torch.get_default_dtype() == torch.float64 and not fused else torch.float32
    device = param.device if group.get("capturable") or fused else torch.device("cpu")
    if isinstance(value, Tensor):  # copied: to read it would be to wait for its device
        return value.detach().squeeze().to(device, dtype, copy=True)
    return torch.full((), value, dtype=dtype, device=device)
