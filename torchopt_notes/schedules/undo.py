"""Training for a while and having done nothing: what :func:`.lr_range_test` does within."""

from __future__ import annotations

import contextlib
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from ..engine.optimizer import Optimizer as EngineOptimizer

_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)


@contextlib.contextmanager
def undone(model: Module, optimizer: Optimizer, batches: Iterable[Any]) -> Iterator[None]:
    """Leaves everything as it was."""
    before = Before([model, *model.parameters(), *model.buffers(), optimizer, *generators(batches)])
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for kind in {device.type for device in before.devices} - {"cpu", "meta"}:
            indices = [device.index for device in before.devices if device.type == kind]
            stack.enter_context(torch.random.fork_rng(indices, device_type=kind))
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(before.restore)
        yield


def generators(batches: Any) -> list[Any]:
    """What a loader draws its order from."""
    samplers = [getattr(batches, "sampler", None), getattr(getattr(batches, "batch_sampler", None), "sampler", None)]
    return [getattr(one, "generator", None) for one in (batches, *samplers)]


class Before:
    """Tensors, generators and plain containers as they are now, and whatever of these they hold.

    Not ``state_dict``: it lacks gradients and non-persistent buffers, and loading one puts other tensors into the
    optimizer, which captured graphs, schedulers and whoever else holds the old ones would not notice.
    """

    def __init__(self, roots: list[Any]) -> None:
        self.devices: set[torch.device] = set()
        self._tensors: list[tuple[Tensor, Tensor, bool, Tensor | None]] = []
        self._generators: list[tuple[torch.Generator, Tensor]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._planning: list[EngineOptimizer] = []
        seen: set[int] = set()
        found = deque(roots)
        while found:
            one = found.popleft()
            if isinstance(one, EngineOptimizer):
                self._planning.append(one)
            if isinstance(one, (Module, Optimizer)):
                one = vars(one)
            # Exact types only: others have ideas of their own about what may be put into them.
            kept = isinstance(one, (Tensor, torch.Generator, tuple)) or type(one) in _CONTAINERS
            if kept and id(one) not in seen:
                seen.add(id(one))
                found.extend(self._keep(one))

    def _keep(self, one: Any) -> Iterable[Any]:
        """Keeps one thing, and returns what it holds."""
        if isinstance(one, Tensor):
            return self._keep_tensor(one)
        if isinstance(one, torch.Generator):
            self._generators.append((one, one.get_state()))
            return ()
        if isinstance(one, tuple):
            return one
        items = list(one.items()) if isinstance(one, dict) else list(one)
        self._containers.append((one, items))
        return [thing for item in items for thing in item] if isinstance(one, dict) else items

    def _keep_tensor(self, tensor: Tensor) -> Iterable[Any]:
        self.devices.add(tensor.device)
        # Nobody changes a graph's tensors, or those of inference mode, where they are.
        if not tensor.is_leaf or tensor.is_inference():
            return ()
        with torch.no_grad():
            self._tensors.append((tensor, _unrepeated(tensor).clone(), tensor.requires_grad, tensor.grad))
        return () if tensor.grad is None else (tensor.grad,)

    def restore(self) -> None:
        """Makes it all as it was; each tensor and container is still the same object."""
        for container, items in self._containers:
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(items)
        with torch.no_grad():
            for tensor, values, requires_grad, grad in self._tensors:
                if not tensor.is_leaf:
                    tensor.detach_()
                _unrepeated(tensor).copy_(values)
                tensor.requires_grad_(requires_grad)
                tensor.grad = grad
        for generator, state in self._generators:
            generator.set_state(state)
        for optimizer in self._planning:
            optimizer._forget()  # its plan is one for what the test has led to


def _unrepeated(tensor: Tensor) -> Tensor:
    """An expanded tensor without the repetitions, which cannot be written to."""
    tensor = tensor.detach()
    if tensor.layout is torch.strided:
        for dim, stride in enumerate(tensor.stride()):
            if stride == 0 and tensor.shape[dim] > 1:
                tensor = tensor.narrow(dim, 0, 1)
    return tensor
