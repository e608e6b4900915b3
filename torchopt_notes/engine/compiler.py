"""A rule through ``torch.compile``, and a shorter way to what it compiled.

At every call torch.compile checks that the arguments still are what the code was compiled for, and autograd's part of
it prepares for what an update never needs. That takes several times as long as usual when the update of a large tensor
has just flushed the caches. Here the engine has already made sure of it: every
argument is a dense vector of a known dtype with more than one element. So the first call goes through torch.compile,
and later ones straight to the code that Inductor made; the first of each size, if the code was specialised to some.
Where this torch's compiler does not let itself be looked at in this way, all calls go through torch.compile.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from .eager import update
from .layout import flat, real_numel
from .rule import Variant
from .scalars import Row
from .transform import Signal

# Whether a loop runs in parallel is decided from the size seen first; a threshold of one element makes that decision
# the same for every size. And the code does not look at shapes: the engine does, and hands over other ones.
_OPTIONS: dict[str, Any] = {"cpp.min_chunk_size": 1, "size_asserts": False}
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

Code: TypeAlias = Callable[[list[Any]], Any]
"""What Inductor made. It empties the list of its arguments."""

Place: TypeAlias = tuple[int, int | None]
"""Which of our arguments, and along which axis if its length there is meant."""

CALLS_OUT = re.compile(r"\b(aten|extern_kernels|torch\.ops)\.\w+\(")
"""In generated code, a call that looks at more of a tensor than its address."""

ANY: tuple[torch.Size, ...] = ()
"""Stands for all sizes."""

KINDS = 64
"""How often a function of matrices may be compiled, where torch's limit is 8: there are many kinds of matrices, by rank
and by how they are cut into blocks of rows."""


class Route(NamedTuple):
    """The code for some sizes, and what it takes."""

    code: Code
    places: list[Place]


class CompiledFunction:
    """An in-place function of ``(numbers, *tensors)``, which are all dense.

    For a rule the tensors are parameter, gradient and states. The code sees them as vectors in the order of their
    memory, of one length where they are shaped like the parameter; or as they are, for a rule that looks at rows.
    """

    def __init__(self, function: types.FunctionType, options: dict[str, Any], *, as_vectors: bool = True) -> None:
        self._options = options
        self._as_vectors = as_vectors
        self._compiled = torch.compile(function, backend=self._compile, dynamic=True, fullgraph=True)
        self._routes: dict[tuple[torch.Size, ...], Route] = {}
        self._threads = 0
        self._lock = threading.RLock()
        self._sizes: tuple[torch.Size, ...] = ()
        self._arguments: tuple[Tensor, ...] = ()

    def __call__(self, numbers: Tensor, *tensors: Tensor) -> None:
        """Runs the function."""
        route = self._route(numbers, tensors)
        if route is not None:
            arguments = (numbers, *tensors)
            # The code looks at addresses alone, so nothing needs to be viewed as a vector.
            route.code([arguments[i] if axis is None else self._length(arguments[i], axis) for i, axis in route.places])
            return
        form = flat if self._as_vectors else _outside_of_autograd
        with (
            self._lock,
            self._room(),
        ):  # threads of a user may share this function, and must not note each other's sizes
            self._sizes = tuple(tensor.shape for tensor in tensors)
            self._arguments = (numbers, *map(form, tensors))
            try:
                self._compiled(*self._arguments)
            finally:
                self._arguments = ()  # nothing is kept alive

    def _room(self) -> contextlib.AbstractContextManager[Any]:
        """Lets torch compile for as many kinds of arguments as there are."""
        if self._as_vectors:
            return contextlib.nullcontext()
        from torch._dynamo import config

        patched: contextlib.AbstractContextManager[Any] = config.patch(recompile_limit=KINDS)
        return patched

    def _route(self, numbers: Tensor, tensors: tuple[Tensor, ...]) -> Route | None:
        """The short way, if it is known by now. Code that sums has room for as many threads as it was compiled for."""
        if not (self._routes and numbers.is_cpu and torch.get_num_threads() == self._threads):
            return None
        return self._routes.get(ANY) or self._routes.get(tuple(tensor.shape for tensor in tensors))

    def _length(self, tensor: Tensor, axis: int) -> int:
        return real_numel(tensor) if self._as_vectors else tensor.shape[axis]

    def _compile(self, graph: Any, examples: Sequence[Any]) -> Any:
        """The backend of torch.compile: Inductor, and a look at how its innermost code is called."""
        from torch._functorch import config
        from torch._inductor.compile_fx import compile_fx, compile_fx_inner

        sizes = _Sizes.of(graph)

        def innermost(*args: Any, **kwargs: Any) -> Any:
            made: Any = compile_fx_inner(*args, **kwargs)
            code: Code | None = getattr(made, "current_callable", None)
            if sizes is None or code is None or CALLS_OUT.search(getattr(made, "source_code", "aten")):
                return made

            def first_call(given: list[Any]) -> Any:
                places = _places(given, self._arguments, sizes.sources)
                if self._threads != torch.get_num_threads():
                    self._threads = torch.get_num_threads()
                    self._routes.clear()
                if places:
                    # Of matrices, equal lengths would be taken for one.
                    any_size = self._as_vectors and not sizes.assumed()
                    self._routes[ANY if any_size else self._sizes] = Route(code, places)
                return code(given)

            made.current_callable = first_call
            return made

        # That cache has what surrounds the code too, and would not ask for the code alone.
        with config.patch(enable_autograd_cache=False):
            return compile_fx(graph, examples, innermost, self._options)


def _outside_of_autograd(tensor: Tensor) -> Tensor:
    # torch.compile would guard on the shape of a view's base; what ``.data`` returns is no view.
    return tensor.detach().data


class _Sizes:
    """The lengths that a graph is given beside its tensors.

    Attributes:
        sources: for each value given that is the length of a tensor, which of the values has it, and along which axis;
            None for the others.
    """

    @classmethod
    def of(cls, graph: Any) -> _Sizes | None:
        """None where the compiler does not say what its values are like."""
        values = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
        return cls(values) if all(isinstance(value, (Tensor, torch.SymInt)) for value in values) else None

    def __init__(self, values: Sequence[Any]) -> None:
        found: dict[Any, tuple[int, int]] = {}
        for i, value in enumerate(values):
            if not isinstance(value, torch.SymInt):
                for axis, length in enumerate(value.shape):
                    if isinstance(length, torch.SymInt):
                        found.setdefault(length.node.expr, (i, axis))
        lengths = [value for value in values if isinstance(value, torch.SymInt)]
        self.sources = [found.get(v.node.expr) if isinstance(v, torch.SymInt) else None for v in values]
        self._environment = lengths[0].node.shape_env if lengths else None
        self._symbols = set(found)

    def assumed(self) -> bool:
        """Whether more about them went into the code than that they are neither 0 nor 1; known when it is compiled."""
        return self._environment is None or any(
            self._symbols & guard.expr.free_symbols for guard in self._environment.guards
        )


def _places(
    given: Sequence[Any], arguments: Sequence[Tensor], sources: Sequence[tuple[int, int] | None]
) -> list[Place]:
    """Where among ``arguments`` the code finds what it is given; empty unless all of that is there, and on the CPU."""
    if len(given) != len(sources):
        return []
    known = {id(argument): i for i, argument in enumerate(arguments)}
    others = [value for value, source in zip(given, sources, strict=True) if source is None]
    if not all(id(value) in known and value.device.type == "cpu" for value in others):
        return []
    return [
        (known[id(value)], None) if source is None else (known[id(given[source[0]])], source[1])
        for value, source in zip(given, sources, strict=True)
    ]


def _whole_tensors() -> dict[str, Any]:
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class StoreEarly(CustomGraphPass):
        def __call__(self, graph: torch.fx.Graph) -> None:
            store_early(graph)

        def uuid(self) -> Any:
            return get_hash_for_files((__file__,))

    return _WHOLE_TENSORS | {"post_grad_custom_post_pass": StoreEarly()}


def store_early(graph: torch.fx.Graph) -> None:
    """Moves the writes to arguments, which the compiler has at the end of a graph, up to where the values are known.

    What follows reads them there: a state that is measured is stored by the loop that measures it, and applied from
    memory, rather than worked out twice. An argument whose old value is still needed after that is left alone.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    for store in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
        place, value = store.args[:2]
        others = [user for user in place.users if user is not store]
        over = all(order[user] <= order[value] and not _is_view(user) for user in others)
        if over and value.op == "call_function":
            order[store] = order[value]
            value.append(store)
            value.replace_all_uses_with(store, delete_user_cb=lambda user, store=store: user is not store)


def _is_view(node: torch.fx.Node) -> bool:
    """Whether a result may look at the memory of what it was made from, later than it was made."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or node.target is torch.ops.aten._unsafe_view.default:  # which does not say so
        return True
    return any(result.alias_info is not None for result in schema.returns)


@functools.cache
def compiled_update(variant: Variant, dtypes: tuple[torch.dtype, ...]) -> CompiledFunction:
    """The variant's rule, compiled for a parameter, a gradient and states of these dtypes.

    Its numbers are the signal's scale and whether to skip, then those of the row.
    """

    scalar_type = variant.rule.scalar_type

    def rule_update(numbers: Tensor, param: Tensor, grad: Tensor, *state: Tensor) -> None:
        scale, skip, *row = numbers.unbind()
        update(param, grad, list(state), Row.of(scalar_type, row), variant, Signal(scale, skip))

    options = _OPTIONS if variant.rule.span == "element" else _OPTIONS | _whole_tensors()
    return CompiledFunction(
        _renamed(rule_update, variant.rule.kernel), options, as_vectors=variant.rule.span != "matrix"
    )


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
