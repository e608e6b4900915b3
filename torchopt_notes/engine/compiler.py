"""A rule through ``torch.compile``, and a shorter way to what it compiled.

At every call torch.compile checks that the arguments still are what the code was compiled for. That takes several times
as long as usual when the update of a large tensor has just flushed the caches. Here the engine has already made sure
of it: every argument is a dense vector of a known dtype, outside of autograd, with more than one element. So the first
call goes through torch.compile, and later ones straight to the code that it made, unless that code was specialised to
some sizes.
"""

from __future__ import annotations

import functools
import itertools
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .eager import update
from .rule import Variant
from .scalars import Row
from .transform import Signal

# Whether a loop runs in parallel is decided from the size seen first; a threshold of one element makes that decision
# the same for every size.
_OPTIONS: dict[str, Any] = {"cpp.min_chunk_size": 1}
# What is measured and then applied is worked out twice, rather than kept in a temporary of the tensor's size. And sums
# that read the same tensor share a loop however few elements they are compiled with.
_WHOLE_TENSORS: dict[str, Any] = {
    "score_fusion_memory_threshold": 1,
    "unroll_reductions_threshold": 1,
    "realize_reads_threshold": 1000,
    "realize_opcount_threshold": 1000,
    "realize_acc_reads_threshold": 1000,
}
_serial = itertools.count()


class CompiledFunction:
    """An in-place function of ``(numbers, *vectors)``.

    For a rule the vectors are parameter, gradient and states: of one length where they are shaped like the parameter. A
    rule that looks at rows and columns takes matrices instead.
    """

    def __init__(self, function: types.FunctionType, options: dict[str, Any]) -> None:
        self._options = options
        self._compiled = torch.compile(function, backend=self._compile, dynamic=True, fullgraph=True)
        self._code: Any = None
        self._arguments: tuple[Tensor, ...] = ()
        self._order: list[int | None] | None = None

    def __call__(self, numbers: Tensor, *vectors: Tensor) -> None:
        """Runs the function."""
        arguments = (numbers, *vectors)
        if self._order is not None:
            length = vectors[0].numel()
            self._code(*[length if i is None else arguments[i] for i in self._order])
            return
        self._arguments = arguments
        try:
            self._compiled(*arguments)
        finally:
            self._arguments = ()  # nothing is kept alive

    def _compile(self, graph: Any, examples: Sequence[Any]) -> Any:
        """The backend of torch.compile: Inductor, and a look at how its code is called."""
        from torch._inductor.compile_fx import compile_fx

        code: Any = compile_fx(graph, examples, config_patches=self._options)
        self._code = code
        any_size = _serves_any_size(examples)

        def call(*given: Any) -> Any:
            if any_size and all(argument.device.type == "cpu" for argument in self._arguments):
                self._order = self._positions(given)
            return code(*given)

        return call

    def _positions(self, given: Sequence[Any]) -> list[int | None] | None:
        """Which of our arguments the code takes where, None standing for the length."""
        places = {id(argument): i for i, argument in enumerate(self._arguments)}
        tensors = [value for value in given if isinstance(value, Tensor)]
        if not all(id(tensor) in places for tensor in tensors):
            return None
        return [places[id(value)] if isinstance(value, Tensor) else None for value in given]


def _serves_any_size(examples: Sequence[Any]) -> bool:
    """Whether no assumption about the vectors' length went into the code."""
    lengths = [example for example in examples if isinstance(example, torch.SymInt)]
    guards = [guard.expr for length in lengths for guard in length.node.shape_env.guards]
    return len(lengths) == 1 and not any(lengths[0].node.expr in guard.free_symbols for guard in guards)


@functools.cache
def compiled_update(variant: Variant, dtypes: tuple[torch.dtype, ...]) -> CompiledFunction:
    """The variant's rule, compiled for a parameter, a gradient and states of these dtypes.

    Its numbers are the signal's scale and whether to skip, then those of the row.
    """

    scalar_type = variant.rule.scalar_type

    def rule_update(numbers: Tensor, param: Tensor, grad: Tensor, *state: Tensor) -> None:
        scale, skip, *row = numbers.unbind()
        update(param, grad, list(state), Row.of(scalar_type, row), variant, Signal(scale, skip))

    options = _OPTIONS if variant.rule.span == "element" else _OPTIONS | _WHOLE_TENSORS
    return CompiledFunction(_renamed(rule_update, variant.rule.kernel), options)


@functools.cache
def compiled_sums(order: float, dtype: torch.dtype) -> CompiledFunction:
    """Adds to fp64 [2], its numbers, what :func:`~.norms.power_sums` has for a vector of this dtype."""

    telling = order in (1, 2, math.inf) and dtype != torch.float64

    def add_sums(numbers: Tensor, vector: Tensor) -> None:
        size = vector.abs().double()
        if order == math.inf:
            found = torch.maximum(numbers[0], size.amax())
        else:
            found = numbers[0] + (size * size if order == 2 else size**order).sum()
        # What fp64 holds is finite if each element is.
        wrong = ~found.isfinite() if telling else torch.where(size < math.inf, 0.0, 1.0).amax()
        numbers.copy_(torch.stack([found, numbers[1] + wrong]))

    return CompiledFunction(_renamed(add_sums, f"norm_{dtype}".replace(".", "_")), _OPTIONS)


def _renamed(function: Callable[..., None], name: str) -> types.FunctionType:
    """The function with a code object of its own, by which torch.compile keeps its cache and limits recompilations."""
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_name=f"{name}_{next(_serial)}")
    return types.FunctionType(code, globals(), closure=function.__closure__)
