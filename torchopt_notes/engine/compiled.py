"""The compiled backend: the eager rule through ``torch.compile``, on flat vectors.

Large tensors are updated in place, one call each. Each call has a fixed cost, so small tensors lie side by
side in a staging area and share one call (see :mod:`.staging`). Every number that may change from step to step enters
as an element of one tensor: neither a new learning rate, nor a new step, nor a new size compiles anything again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from .arithmetic import rows_like
from .backends import toolchain_is_broken
from .buckets import Bucket, States
from .compiler import CompiledFunction, compiled_sums, compiled_update
from .eager import advance, carry, update
from .group_options import Sharing
from .layout import as_matrices, compute_dtype, dense_copy, flat, is_dense, real, real_numel, same_layout, state_shape
from .norms import power_sums
from .rule import Scalar
from .scalars import Kept, Row, exact, lives_on_device, row, row_length
from .staging import STAGE_BELOW, Staging
from .steps import StepCounts
from .transform import Signal, unit_scale

if TYPE_CHECKING:
    from .optimizer import Optimizer


Way: TypeAlias = Literal["in place", "copies", "eager", "nothing"]


@dataclass
class Part:
    """Members that share a row of numbers: of parameter groups with the same options, and after as many steps.

    Attributes:
        group: one of those groups.
    """

    group: int
    members: list[int]
    direct: list[int]
    staged: list[int]
    staging: Staging | None = None
    kept: Kept = field(default_factory=Kept)


class CompiledRunner:
    """Runs a bucket's rule through the compiler."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.steps = StepCounts(bucket.kind.variant.rule.carried)
        self.dtype = compute_dtype(bucket.kind.dtype)
        self.groups = [member.group for member in bucket.members]
        rule = bucket.kind.variant.rule
        # What only decides where step counts live and who was asked for does not change the code. What clips by units
        # does it before: the compiled function sees no units.
        self._adaptive = bucket.kind.variant.transform.adaptive
        self._wide = self.dtype if not bucket.kind.dtype.is_complex else bucket.kind.dtype
        self._grad_dtype = self._wide if self._adaptive else bucket.kind.grad_dtype
        self._variant = bucket.kind.variant._replace(on_device=False, fused=False)
        if self._adaptive:
            transform = self._variant.transform._replace(adaptive=False, scaled=False)
            self._variant = self._variant._replace(transform=transform)
        self._whole = rule.span != "element"
        self._matrices = rule.span == "matrix"
        layouts = [rule.layout(name) for name in bucket.kind.state_names]
        self._shaped = {0, 1, *[slot for slot, layout in enumerate(layouts, 2) if layout is None]}
        # One buffer serves every call: on CPU a call has read it when it returns, elsewhere it gets a copy.
        self._row_tensor = torch.empty(2 + row_length(rule), dtype=self.dtype, device="cpu")
        self._row = self._row_tensor.numpy()
        self._sharing = Sharing(bucket.groups)
        self._parts: list[Part] = []
        self._version = (-1, -1)
        self._function: CompiledFunction | None = None
        self._addresses: list[list[int]] = []
        self._states_moved = True
        self._ways: dict[int, Way] = {}

    def fits(self, grads: list[Tensor], states: States) -> bool:
        """Any layout is handled, tensor by tensor. What is to be run is compiled here, before anything is changed.

        Raises:
            RuntimeError: when the compiler that was asked for fails.
        """
        kind = self.bucket.kind
        addresses = [list(map(Tensor.data_ptr, column)) for column in states.columns]
        # Kept until a step is really taken: this one may be skipped.
        self._states_moved |= self.bucket.relaid or addresses != self._addresses
        if self.bucket.relaid:
            self._ways.clear()
        if self._states_moved:
            for column, dtype in zip(states.columns, kind.state_dtypes, strict=True):
                if not all(state.dtype is dtype and state.device == kind.device for state in column):
                    return False
        if self._function is None:
            try:
                self._function = self._compile()
            except Exception as error:
                if not kind.reason.startswith("auto"):
                    raise RuntimeError(
                        f"{self.bucket.owner}: backend 'compiled' ({kind.reason}) cannot run here, the compiler "
                        f"failed; use backend='auto' to allow a fallback: {error}"
                    ) from error
                toolchain_is_broken(f"compiling failed ({type(error).__name__}: {str(error).splitlines()[0]})")
                return False
        return True

    def _compile(self) -> CompiledFunction:
        """Compiles the rule, by running it on a few numbers of its own."""
        kind = self.bucket.kind
        dtypes = tuple(dtype.to_real() for dtype in (kind.dtype, self._grad_dtype, *kind.state_dtypes))
        function = compiled_update(self._variant, dtypes)
        for shapes in self._examples():
            tensors = [torch.ones(shape, dtype=d, device=kind.device) for shape, d in zip(shapes, dtypes, strict=True)]
            function(torch.ones_like(self._row_tensor, device=kind.device), *tensors)
        return function

    def _examples(self) -> list[list[tuple[int, ...]]]:
        """Shapes to compile for, one of each kind: any other of its kind is served by the same code."""
        rule, names = self.bucket.kind.variant.rule, self.bucket.kind.state_names
        if rule.span != "matrix":
            return [[(2,), (2,), *[(2,) if rule.layout(name) is None else (1,) for name in names]]]
        tensors = [
            tensor for tensor in map(as_matrices, self.bucket.params) if tensor.numel() and 1 not in tensor.shape
        ]
        wholes = {(3, rows_like(tensor.shape[-2]), 131)[-tensor.dim() :] for tensor in tensors}
        return [[w, w, *[state_shape(torch.Size(w), rule.layout(name)) for name in names]] for w in wholes]

    def release(self, optimizer: Optimizer, kept: set[int]) -> None:
        """States in the staging areas get memory of their own, unless another runner takes them over."""
        for part in self._parts:
            if part.staging is not None:
                part.staging.release(optimizer.state, kept)

    def measure(self, grads: list[Tensor], states: States, order: float) -> Tensor:
        """See :class:`~.buckets.Runner`."""
        kind = self.bucket.kind
        if kind.dtype.is_complex and order != 2:
            return power_sums(grads, order)  # pairs of reals have no other norm in common with complex numbers
        function = compiled_sums(order, kind.grad_dtype.to_real())
        staged_function = compiled_sums(order, self._grad_dtype.to_real())
        sums = torch.zeros(2, dtype=torch.float64, device=kind.device)
        staged = {i for part in self._parts for i in part.staged}
        for part in self._parts:
            if part.staging is not None:
                part.staging.measure(staged_function, sums, [grads[i] for i in part.staged])
        for i, grad in enumerate(grads):
            if i not in staged and grad.numel():
                dense = grad if is_dense(grad) else dense_copy(grad)
                function(sums, dense if dense.numel() > 1 else torch.nn.functional.pad(flat(dense), (0, 1)))
        return sums[:, None]

    def run(self, optimizer: Optimizer, grads: list[Tensor], states: States, signal: Signal) -> None:
        """Updates the bucket's parameters and states in place."""
        signal = signal.rounded(self.dtype)
        if lives_on_device(optimizer, self.bucket):
            self._run_on_device(optimizer, grads, states, signal)
            return
        self.steps.advance(states)
        self._sharing.refresh(optimizer.planned_options(), optimizer.param_groups)
        for part in self._current_parts(states):
            first = part.members[0]
            step, carried = float(self.steps.values[first]), self.steps.carried(first)
            group = optimizer.param_groups[part.group]
            numbers = row(optimizer, group, self.bucket.kind.variant, step, carried, kept=part.kept)
            self.steps.carry(part.members, numbers.scalars[: len(carried)])
            scale = signal.scale
            known = 1.0 if isinstance(scale, Tensor) else scale
            self._row[:] = [known, 0.0, *[float(value) for value in numbers.values()]]
            on_cpu = self.bucket.kind.device.type == "cpu"
            values = self._row_tensor if on_cpu else self._row_tensor.to(self.bucket.kind.device)
            if isinstance(scale, Tensor):
                values[0].copy_(scale)
            for i in part.direct:
                self._update(values, i, self._clipped(i, grads[i], numbers, signal), states.of(i))
            if part.staging is not None:
                chosen = [self._clipped(i, grads[i], numbers, signal) for i in part.staged]
                part.staging.update(self._run_function, values, chosen)

    def _run_on_device(self, optimizer: Optimizer, grads: list[Tensor], states: States, signal: Signal) -> None:
        """Step counts may not be read: every tensor gets a row of its own, worked out where its count lives."""
        device, variant = self.bucket.kind.device, self.bucket.kind.variant
        for i, member in enumerate(self.bucket.members):
            step = advance(states, i, variant, signal)
            group, carried = optimizer.param_groups[member.group], [exact(column[i]) for column in states.carried]
            numbers = row(optimizer, group, variant, step, carried, read=False)
            for column, value in zip(states.carried, numbers.scalars, strict=False):
                carry(column[i], value, variant, signal)
            known = (signal.scale, signal.skip, *numbers.values())
            values = torch.stack([self._on_device(value, device) for value in known])
            self._update(values, i, self._clipped(i, grads[i], numbers, signal), states.of(i))

    def _clipped(self, i: int, grad: Tensor, numbers: Row, signal: Signal) -> Tensor:
        """The gradient of a parameter, scaled and clipped by units if that is asked for."""
        if not self._adaptive:
            return grad
        param, grad = self.bucket.members[i].param.detach(), grad.to(self._wide) * signal.scale
        clip, eps = numbers.transform.adaptive_clip, numbers.transform.adaptive_eps
        return grad * unit_scale(param.to(self._wide), grad, clip, eps)

    def _on_device(self, value: Scalar, device: torch.device) -> Tensor:
        """A number there, without a copy from the host that would have to be waited for."""
        if isinstance(value, Tensor):
            return value.to(device, self.dtype)
        return torch.full((), value, dtype=self.dtype, device=device)

    def _run_function(self, values: Tensor, *vectors: Tensor) -> None:
        assert self._function is not None, "fits compiles before anything is run"
        self._function(values, *vectors)

    def _update(self, values: Tensor, i: int, grad: Tensor, state: list[Tensor]) -> None:
        """Updates one member where it lies, or through dense copies if its layout asks for that."""
        param = self.bucket.members[i].param
        own = (param, grad, *state)
        way = self._ways.get(i)
        if way is None:
            way = self._ways[i] = self._way(own)
        if way == "in place":
            self._run_function(values, *(map(as_matrices, own) if self._matrices else own))
            # Autograd must learn of the change, so that a backward pass through the old values fails.
            torch.autograd.graph.increment_version([param])
        elif way == "eager":
            scale, skip, *numbers = values.unbind()
            line = Row.of(self._variant.rule.scalar_type, numbers)
            update(param.detach(), grad, state, line, self._variant, Signal(scale, skip))
        elif way == "copies":
            self._update_copies(values, own)

    def _way(self, own: tuple[Tensor, ...]) -> Way:
        """How a member is updated while its tensors are laid out as they are."""
        param = own[0]
        if param.numel() == 0:
            return "nothing"
        if self._whole and 1 in self._sizes(param):
            # torch.compile would compile again for a size of 1, and padding would change what is averaged.
            return "eager"
        return "in place" if real_numel(param) > 1 and self._in_order(own) else "copies"

    def _update_copies(self, values: Tensor, own: tuple[Tensor, ...]) -> None:
        copies = [as_matrices(copy) if self._matrices else flat(copy) for copy in map(dense_copy, own)]
        if real_numel(own[0]) == 1:
            copies = [torch.nn.functional.pad(copy, (0, 1)) for copy in copies]
        self._run_function(values, *copies)
        for tensor, copy in zip((own[0], *own[2:]), (copies[0], *copies[2:]), strict=True):
            target = real(tensor)
            target.copy_(copy.reshape(-1)[: target.numel()].view(target.shape))

    def _sizes(self, param: Tensor) -> tuple[int, ...]:
        """The lengths that the compiled function sees."""
        return as_matrices(param).shape if self._matrices else (real_numel(param),)

    def _in_order(self, own: tuple[Tensor, ...]) -> bool:
        """Whether a parameter's memory can be walked as the rule asks for, and all else along with it."""
        param = own[0]
        if not (param.is_contiguous() if self._matrices else is_dense(param)):
            return False
        return all(
            same_layout(tensor, param) if slot in self._shaped else tensor.is_contiguous()
            for slot, tensor in enumerate(own)
        )

    def _current_parts(self, states: States) -> list[Part]:
        """The parts of the last step while they still hold; else new ones."""
        owned = all(p.staging is None or p.staging.owns(_pick(states.columns, p.staged)) for p in self._parts)
        version = (self.steps.version, self._sharing.version)
        if self._states_moved or self._version != version or not owned:
            chosen: dict[tuple[float, ...], list[int]] = {}
            for i, key in enumerate(zip(*self.steps.keys(self._sharing.of(self.groups)).tolist(), strict=True)):
                chosen.setdefault(key, []).append(i)
            self._parts = [self._new_part(self.groups[members[0]], members, states) for members in chosen.values()]
            self._version = version
            # Adopted states lie elsewhere now, by our own doing.
            self._addresses = [[s[name].data_ptr() for s in states.dicts] for name in self.bucket.kind.state_names]
            self._states_moved = False
        return self._parts

    def _new_part(self, group: int, members: list[int], states: States) -> Part:
        staged: list[int] = []
        direct: list[int] = []
        for i in members:
            param = self.bucket.members[i].param
            small = not self._whole and param.numel() < STAGE_BELOW
            small = small and all(state.dtype is param.dtype for state in states.of(i))
            (staged if small else direct).append(i)
        part = Part(group, members, direct, staged)
        if staged:
            params = [self.bucket.members[i].param for i in staged]
            part.staging = Staging(params, self._grad_dtype, self.bucket.kind.state_names)
            part.staging.adopt([states.dicts[i] for i in staged])
        return part


def _pick(columns: list[list[Tensor]], chosen: list[int]) -> list[list[Tensor]]:
    if not columns or len(chosen) == len(columns[0]):
        return columns
    return [[column[i] for i in chosen] for column in columns]
