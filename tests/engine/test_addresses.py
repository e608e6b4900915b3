"""Addresses of many tensors at once, by torch's private function and without it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from torchopt_notes.engine import addresses, tensor_facts
from torchopt_notes.engine.addresses import WORTHWHILE, Addresses, native, read_plainly, same

build = pytest.importorskip("triton.runtime.build")


class Subclass(torch.Tensor):
    pass


def make(n=WORTHWHILE):
    kinds = [torch.nn.Parameter(torch.ones(3)), torch.ones(5)[1:], torch.ones(0), torch.ones(()), torch.ones(2, 3).t()]
    return [kind.detach().clone() if i >= len(kinds) else kind for i, kind in enumerate(kinds * n)][:n]


def expected(columns):
    return [[tensor.data_ptr() for tensor in column] for column in columns]


@pytest.fixture
def read_in_python(monkeypatch):
    """The columns that are read in Python, in order."""
    found = []

    def plainly(column):
        found.append(column)
        return read_plainly(column)

    monkeypatch.setattr(addresses, "read_plainly", plainly)
    return found


@pytest.fixture
def afresh():
    native.cache_clear()
    yield
    native.cache_clear()


def test_the_compiled_function_is_there():
    """So that a version of torch or Triton with which it cannot be had is noticed, rather than slow."""
    assert native() is not None


def test_the_compiled_function_finds_what_python_finds():
    column = [*make(), torch.ones(3, device="meta")]
    into = np.full(len(column), -1)
    assert native().read(column, into)
    assert [into.tolist()] == expected([column])


@pytest.mark.parametrize("other", [torch.ones(3).as_subclass(Subclass), None, 3, "tensor"], ids=type)
def test_the_compiled_function_leaves_what_it_does_not_know_to_python(other):
    assert not native().read([torch.ones(3), other], np.zeros(2, np.int64))


@pytest.mark.parametrize("length", [0, 1, 3])
def test_the_compiled_function_writes_nowhere_else(length):
    memory = np.full(5, -1)
    assert not native().read([torch.ones(3), torch.ones(3)], memory[1 : 1 + length])
    assert memory.tolist() == [-1] * 5


def test_the_compiled_function_writes_only_what_is_one_run_of_memory():
    with pytest.raises((TypeError, ValueError, BufferError)):  # Python's versions differ
        native().read([torch.ones(3), torch.ones(3)], np.zeros(4, np.int64)[::2])


def test_tensors_are_met_in_python_first(read_in_python):
    assert native() is not None  # its own trial reads in Python too
    columns = [make(), make()]
    table = Addresses(2, WORTHWHILE)
    for alike, plainly in ((False, 2), (True, 0), (True, 0), (False, 2), (True, 0)):
        read_in_python.clear()
        assert table.read(columns, alike=alike).tolist() == expected(columns)
        assert len(read_in_python) == plainly


def test_few_tensors_are_read_in_python(read_in_python, afresh):
    columns = [make(WORTHWHILE - 1)]
    table = Addresses(1, WORTHWHILE - 1)
    for alike in (False, True):
        assert table.read(columns, alike=alike).tolist() == expected(columns)
    assert len(read_in_python) == 2
    assert native.cache_info().currsize == 0  # nothing was compiled


@pytest.mark.parametrize("moved", [0, 1, WORTHWHILE - 1])
@pytest.mark.parametrize(
    "move",
    [
        lambda column, i: column.__setitem__(i, torch.ones(3)),
        lambda column, i: setattr(column[i], "data", column[i].detach().clone()),
        lambda column, i: column.__setitem__(i, column[i].as_subclass(Subclass).clone()),
    ],
    ids=["another tensor", "other data", "a subclass"],
)
def test_a_tensor_that_moves(move, moved):
    columns = [make(), make()]
    table = Addresses(2, WORTHWHILE)
    table.read(columns, alike=False)
    before, kept = table.read(columns, alike=True).copy(), columns[1][moved].detach()
    move(columns[1], moved)
    now = table.read(columns, alike=True)
    assert now.tolist() == expected(columns)
    assert np.argwhere(now != before).tolist() == [[1, moved]]
    del kept  # until here its memory was not to be had


@pytest.mark.parametrize("incomparable", [lambda column: column[0], lambda column: torch.ones(3).as_subclass(Subclass)])
def test_tensors_that_torch_does_not_compare_are_read_in_python(incomparable, read_in_python):
    """Nothing would tell whether they are still the tensors with memory that they were."""
    columns = [make()]
    columns[0][1], plain = incomparable(columns[0]), columns[0][1]
    table = Addresses(1, WORTHWHILE)
    for alike in (False, True):
        assert table.read(columns, alike=alike).tolist() == expected(columns)
    columns[0][1] = plain
    for alike in (False, True):  # what the others are compared with may be older
        assert table.read(columns, alike=alike).tolist() == expected(columns)
    assert len(read_in_python) == 4


def test_nothing_is_read_without_the_guards(read_in_python, monkeypatch):
    monkeypatch.setattr(tensor_facts, "tensor_guards", lambda: None)
    columns = [make()]
    table = Addresses(1, WORTHWHILE)
    for alike in (False, True):
        assert table.read(columns, alike=alike).tolist() == expected(columns)
    assert len(read_in_python) == 2


def test_a_tensor_without_memory_is_refused_in_python():
    columns = [make()]
    columns[0][3] = torch.ones(3).to_sparse()
    with pytest.raises(RuntimeError, match="storage"):
        Addresses(1, WORTHWHILE).read(columns, alike=False)


class Wrong:
    """What was compiled, as it is not meant to be."""

    def __init__(self, answer):
        self.answer = answer

    def read(self, column, into, *rest):
        return self.answer


@pytest.mark.parametrize("compiled", [True, False])
def test_whether_lists_hold_the_same_objects(compiled, afresh):
    assert not compiled or native() is not None
    column = make()
    others = [torch.ones(3), None]
    assert same(column, list(column))
    assert same([], [])
    assert not same(column, column[:-1])
    assert not same(column[:-1], column)
    for place in (0, WORTHWHILE // 2, WORTHWHILE - 1):
        for other in others:
            assert not same(column, [*column[:place], other, *column[place + 1 :]])
    assert not same(column, [tensor.detach() for tensor in column])
    assert native.cache_info().currsize == compiled  # asking compiles nothing


def _raise(error):
    def compile_module(**arguments):
        raise error

    return lambda patch: patch.setattr(build, "compile_module_from_src", compile_module)


MISSING = {
    "torch's function": lambda patch: patch.delattr(torch._C._dynamo.guards, "_torchinductor_pyobject_tensor_data_ptr"),
    "an address": lambda patch: patch.setattr(
        torch._C._dynamo.guards, "_torchinductor_pyobject_tensor_data_ptr", "here"
    ),
    "Triton": lambda patch: patch.setitem(sys.modules, "triton.runtime.build", None),
    "Triton's builder": lambda patch: patch.delattr(build, "compile_module_from_src"),
    "its arguments": lambda patch: patch.setattr(build, "compile_module_from_src", lambda source: Wrong(True)),
    "a compiler": _raise(RuntimeError("Failed to find C compiler")),
    "a compiler that runs": _raise(FileNotFoundError("no such compiler")),
    "Python's headers": _raise(subprocess.CalledProcessError(1, "cc")),
    "what was compiled": _raise(ImportError("undefined symbol")),
    "its function": lambda patch: patch.setattr(build, "compile_module_from_src", lambda **_: object()),
    "its answer": lambda patch: patch.setattr(build, "compile_module_from_src", lambda **_: Wrong(False)),
    "the right addresses": lambda patch: patch.setattr(build, "compile_module_from_src", lambda **_: Wrong(True)),
    "the lock on lists": lambda patch: patch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False),
}


@pytest.mark.parametrize("missing", MISSING)
def test_python_does_it_where_something_is_missing(missing, afresh, read_in_python, monkeypatch):
    MISSING[missing](monkeypatch)
    assert native() is None
    columns = [make()]
    table = Addresses(1, WORTHWHILE)
    for alike in (False, True):
        assert table.read(columns, alike=alike).tolist() == expected(columns)
    assert [len(column) for column in read_in_python if column is columns[0]] == [WORTHWHILE] * 2


@pytest.mark.parametrize("missing", ["Triton's builder", "a compiler"])
def test_it_is_tried_once(missing, afresh, monkeypatch):
    with monkeypatch.context() as patch:
        MISSING[missing](patch)
        assert native() is None
    assert native() is None
