"""What the tests of skipped steps, AMP and capturable steps share: subjects, their training, a guard of the host."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.backends import HERE, MISSING
from torchopt_notes import SparseAdam
from torchopt_notes.engine.steps import StepCounts
from torchopt_notes.testing.cases import CASES, Case

SHAPES = ((5, 3), (7,), (), (2, 3, 2))
SPARSE = Case("sparse-adam", SparseAdam, {}, torch.optim.SparseAdam)
EVERY = (*CASES, SPARSE)

FIRST_DIFFERS = {"sgd-dampening", "momentum-ema", "momentum-velocity-nesterov", "asgd-averaging", "radam-unrectified"}
"""Besides one case of each optimizer: rules whose first steps are unlike the later ones, whether they count or not."""

ONE_EACH = {next(case.name for case in EVERY if case.optimizer is cls) for cls in {c.optimizer for c in EVERY}}
SOME = ONE_EACH | FIRST_DIFFERS
COMPILED = {"sgd-dampening", "adamw"}
"""What the quick tests compile: each rule takes seconds."""


def everywhere(cases=EVERY, *, capturable=False, kernels=SOME, compiled=COMPILED):
    """All cases on eager; on the fast backends those named in ``kernels``, compiled ones mostly in the long suite."""
    found = []
    for case in cases:
        for backend in HERE:
            sparse = case is SPARSE and (capturable or backend != "eager")
            if sparse or (backend != "eager" and case.name not in kernels):
                continue
            reason = MISSING[backend]
            marks = [pytest.mark.skipif(reason is not None, reason=str(reason))]
            marks += [pytest.mark.full] * (backend == "compiled" and case.name not in compiled)
            found.append(pytest.param(case, backend, marks=marks, id=f"{case.name}-{backend}"))
    return found


def named(name):
    """The case with this name."""
    return next(case for case in EVERY if case.name == name)


QUIET = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning:triton")
"""Kernels in the interpreter compute on masked lanes too, and NumPy says so."""

HOST_OR_DEVICE = pytest.mark.parametrize("capturable", [False, True], ids=["host", "device"])
"""Who decides whether a step is skipped."""

INF, NAN = float("inf"), float("nan")
SPOILS = (INF, NAN, -INF)


class Training:
    """Parameters in two groups, their optimizer, and gradients that depend on a seed alone.

    Without a backend it is torch's optimizer, which knows none.
    """

    def __init__(self, case, backend, *, dtype=torch.float32, **options):
        self.case, self.dtype = case, dtype
        shapes = (*SHAPES, (0,)) if (0,) in case.shapes else SHAPES
        generator = torch.Generator().manual_seed(1)
        self.params = [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]
        if case.name == SPARSE.name:
            self.params = [param for param in self.params if param.dim()]
        groups = [{"params": self.params[:2]}, {"params": self.params[2:]}]
        options |= {} if backend is None else {"backend": backend}
        self.optimizer = case.optimizer(groups, **{**case.kwargs, **options})

    def gradients(self, seed):
        """Normally distributed ones."""
        generator = torch.Generator().manual_seed(100 + seed)
        found = [torch.randn(param.shape, generator=generator, dtype=self.dtype) for param in self.params]
        return [grad.to_sparse(1) for grad in found] if self.case.name == SPARSE.name else found

    def load(self, seed, *, spoiled_by=None, where=0, factor=1.0):
        """Sets gradients; the last element of one of them to ``spoiled_by``, if that is given."""
        for param, grad in zip(self.params, self.gradients(seed), strict=True):
            param.grad = grad * factor
        if spoiled_by is not None:
            grad = self.params[where].grad
            (grad._values() if grad.is_sparse else grad).view(-1)[-1] = spoiled_by

    def step(self, seed, **how):
        """One step with those gradients."""
        self.load(seed, **how)
        self.optimizer.step()

    def numbers(self):
        """Copies of all parameters and states, by name."""
        found = {f"param{i}": param.detach().clone() for i, param in enumerate(self.params)}
        for i, param in enumerate(self.params):
            for name, value in self.optimizer.state.get(param, {}).items():
                found[f"state{i}.{name}"] = (
                    value.clone() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
                )
        return found


def walk(training, schedule, look=lambda training, before: None):
    """Goes through a schedule. Bad steps use up no good gradients."""
    seed = bad = 0
    for kind in schedule:
        if kind == "g":
            training.step(seed)
            seed += 1
            continue
        training.load(seed, spoiled_by=SPOILS[bad % 3], where=bad % min(4, len(training.params)))
        before = training.numbers()
        training.optimizer.step()
        look(training, before)
        bad += 1


def assert_same(actual, expected):
    """The same names, shapes, dtypes and bits, but for a NaN's."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, rtol=0, atol=0, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )


def assert_close(actual, expected, *, rtol=1e-5, atol=1e-6):
    """The same names, shapes and dtypes, and numbers that differ by roundings."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


class HostReadError(Exception):
    """The host has read a number that a device may still be working on."""


READING_OPERATIONS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
READING_METHODS = (
    *("item", "tolist", "numpy"),
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__array__"),
)


class _Guard(TorchDispatchMode):
    """Refuses operations that read. What compiled code does inside of itself is not its business."""

    active = True

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masked = any(index is not None and index.dtype is torch.bool for index in indices)
        if self.active and (masked or name in READING_OPERATIONS):
            raise HostReadError(name)
        return func(*args, **(kwargs or {}))

    def refuse(self, name, genuine):
        def method(tensor, *args, **kwargs):
            if self.active:
                raise HostReadError(f"Tensor.{name}")
            return genuine(tensor, *args, **kwargs)

        return method

    def suspended(self, function):
        def call(*args, **kwargs):
            self.active = False
            try:
                return function(*args, **kwargs)
            finally:
                self.active = True

        return call


@contextlib.contextmanager
def host_blindfolded():
    """Raises :class:`HostReadError` where the host looks at a tensor's numbers, on whatever device they are.

    Counts that the host keeps are read through NumPy, which no mode sees: to advance them counts as reading.
    """
    guard = _Guard()
    with pytest.MonkeyPatch.context() as patch:
        for name in READING_METHODS:
            patch.setattr(torch.Tensor, name, guard.refuse(name, getattr(torch.Tensor, name)))
        patch.setattr(StepCounts, "advance", guard.refuse("advance", StepCounts.advance))
        if "triton" in HERE:
            from triton.runtime.interpreter import GridExecutor

            # There the host plays the device.
            patch.setattr(GridExecutor, "__call__", guard.suspended(GridExecutor.__call__))
        with guard:
            yield
