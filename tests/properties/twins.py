"""Two optimizers on copies of the same parameters, through the same events."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .strategies import Tensors

Factory = Callable[..., torch.optim.Optimizer]


def laid_out(values: Tensor, layout: str) -> Tensor:
    """The same numbers in memory of their own, with another layout where the shape allows it."""
    if layout == "transposed" and values.dim() == 2:
        return values.t().clone(memory_format=torch.contiguous_format).t()
    if layout == "gaps" and values.dim():
        memory = values.new_zeros((*values.shape[:-1], 2 * values.shape[-1] + 1))
        return memory[..., 1::2].copy_(values)
    if layout == "channels_last" and values.dim() == 4:
        return values.clone(memory_format=torch.channels_last)
    if layout == "view":
        memory = values.new_zeros(values.numel() + 2)
        return memory[1:-1].view(values.shape).copy_(values)
    return values.clone(memory_format=torch.contiguous_format)


def gradient(pattern: str, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor | None:
    """A gradient of this kind. It takes the same random numbers whatever the kind, so that examples shrink well."""
    values = torch.randn(tuple(shape), dtype=dtype, generator=generator)
    half = dtype is torch.float16
    scale = {
        "zero": 0.0,
        "huge": 1e2 if half else 1e8,
        "tiny": 1e-4 if half else 1e-16,
        "denormal": torch.finfo(dtype).smallest_normal / 8,
    }
    if pattern == "missing":
        return None
    if pattern in ("nan", "inf") and values.numel():
        values.view(-1)[0] = float(pattern)
    if pattern == "mixed":
        values *= (
            torch.logspace(-3, 3, max(values.numel(), 1), dtype=torch.float64)[: values.numel()]
            .view(values.shape)
            .to(dtype)
        )
    return values * scale[pattern] if pattern in scale else values  # 1 times a complex inf is no longer one


class Twins:
    """Ours and theirs.

    Attributes:
        makes: how each optimizer is made, from parameters or groups.
        optimizers, params: of each.
    """

    def __init__(self, makes: Sequence[Factory], tensors: Sequence[Tensors], dtype: torch.dtype, seed: int) -> None:
        self.makes = list(makes)
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors = list(tensors)
        values = [torch.randn(one.shape, dtype=dtype, generator=self.generator) for one in tensors]
        self.params = [
            [torch.nn.Parameter(laid_out(v, one.layout)) for v, one in zip(values, tensors, strict=True)] for _ in makes
        ]
        self.optimizers = [make(params) for make, params in zip(makes, self.params, strict=True)]

    def fill(self, patterns: Sequence[str]) -> None:
        """Gives each parameter a gradient, of one pattern after the other."""
        for i, one in enumerate(self.tensors):
            grad = gradient(patterns[i % len(patterns)], one.shape, self.dtype, self.generator)
            layout = "gaps" if patterns[i % len(patterns)] == "strided" else one.grad_layout
            for params in self.params:
                wanted = grad is not None and params[i].requires_grad
                params[i].grad = laid_out(grad, layout) if wanted else None

    def step(self) -> None:
        """Both take a step."""
        for optimizer in self.optimizers:
            optimizer.step()

    def add_group(self, one: Tensors, **options: Any) -> None:
        """One more parameter, in a group of its own."""
        values = torch.randn(one.shape, dtype=self.dtype, generator=self.generator)
        self.tensors.append(one)
        for optimizer, params in zip(self.optimizers, self.params, strict=True):
            params.append(torch.nn.Parameter(laid_out(values, one.layout)))
            optimizer.add_param_group({"params": [params[-1]], **options})

    def set(self, name: str, value: float) -> None:
        """Another value of a hyperparameter, in the last group."""
        for optimizer in self.optimizers:
            if name in optimizer.param_groups[-1]:
                optimizer.param_groups[-1][name] = value

    def freeze(self, index: int) -> None:
        """A parameter is no longer trained, or is again."""
        for params in self.params:
            param = params[index % len(params)]
            param.requires_grad_(not param.requires_grad)
            param.grad = None

    def restore(self, *, exchanged: bool = False, makes: Sequence[Factory] | None = None) -> None:
        """New optimizers go on from what the old ones saved, each from its own or from the other's."""
        self.makes = list(makes or self.makes)
        saved = [_through_a_file(optimizer.state_dict()) for optimizer in self.optimizers]
        for i, params in enumerate(self.params):
            groups, rest = [], list(params)
            for group in self.optimizers[i].param_groups:
                groups.append({"params": [rest.pop(0) for _ in group["params"]]})
            self.optimizers[i] = self.makes[i](groups)
            self.optimizers[i].load_state_dict(saved[1 - i if exchanged else i])
        self._cast_product()

    def _cast_product(self) -> None:
        """torch casts NAdam's running product to fp64 when it loads the state of an fp64 parameter, and rounds it no
        longer as before. Ours keeps what was saved, so that a resumed run is the one that was not interrupted; here
        it is to be torch's.
        """
        for i in range(len(self.tensors)):
            mine, its = self.optimizers[0].state.get(self.params[0][i], {}), self.states(1, i)
            if "mu_product" in mine and "mu_product" in its:
                mine["mu_product"] = mine["mu_product"].to(its["mu_product"].dtype)

    def copy(self) -> None:
        """Deep copies go on."""
        pairs = [copy.deepcopy(pair) for pair in zip(self.optimizers, self.params, strict=True)]
        self.optimizers, self.params = [list(one) for one in zip(*pairs, strict=True)]

    def pickle(self) -> None:
        """Pickled copies go on."""
        pairs = [pickle.loads(pickle.dumps(pair)) for pair in zip(self.optimizers, self.params, strict=True)]
        self.optimizers, self.params = [list(one) for one in zip(*pairs, strict=True)]

    def happen(self, event: str, number: float) -> None:
        """What comes before a step."""
        if event in ("checkpoint", "exchange"):
            self.restore(exchanged=event == "exchange")
        elif event in ("copy", "pickle"):
            getattr(self, event)()
        elif event == "group":
            self.add_group(Tensors((6, 2), "transposed", "contiguous"), lr=number)
        elif event in ("lr", "decay"):
            self.set({"lr": "lr", "decay": "weight_decay"}[event], number)
        elif event == "freeze":
            self.freeze(int(number * 1e6))

    def states(self, which: int, index: int) -> Mapping[str, Any]:
        """A parameter's state."""
        return self.optimizers[which].state.get(self.params[which][index], {})

    def assert_equal(self) -> None:
        """Equal bits of all parameters and states, but for the sign of a zero and the kind of a NaN."""
        for i, (ours, theirs) in enumerate(zip(*self.params, strict=True)):
            _assert_same(f"params[{i}]", ours.detach(), theirs.detach())
            mine, its = self.states(0, i), self.states(1, i)
            kept = {name for name, value in its.items() if value is not None}
            assert mine.keys() == kept, f"state[{i}]: {sorted(mine)} for {sorted(kept)}"
            for name in kept:
                _assert_same(f"state[{i}][{name!r}]", torch.as_tensor(mine[name]), torch.as_tensor(its[name]))
        for mine, its in zip(*[optimizer.param_groups for optimizer in self.optimizers], strict=True):
            for name in mine.keys() & its.keys() - {"params"}:  # torch adds one to groups that come after loading
                assert mine[name] == its[name], name


def _assert_same(name: str, ours: Tensor, theirs: Tensor) -> None:
    if name.startswith("state") and not (
        ours.dim() or ours.is_complex()
    ):  # numbers of the step may have another precision
        ours, theirs = ours.double(), theirs.double()
    assert ours.dtype == theirs.dtype, f"{name}: {ours.dtype} for {theirs.dtype}"
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} for {theirs.shape}"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True, msg=lambda text: f"{name}: {text}")


def _through_a_file(saved: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
