"""Where many tensors are, and whether they are the same, asked in one call. The one place that meets the private
function of torch's that knows where."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .tensor_facts import comparable

Read: TypeAlias = Callable[[list[Tensor], npt.NDArray[np.int64]], bool]


class Native(NamedTuple):
    """Compiled functions.

    Attributes:
        read: takes a column and the row to write its addresses to, and says whether it did: only for plain tensors.
        same: whether two lists hold the same objects.
    """

    read: Read
    same: Callable[[list[Any], list[Any]], bool]


WORTHWHILE = 64
"""Tensors in a column from which loading the compiled function pays."""

# Also valid C++, which some builds of Triton compile instead.
SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

typedef void *(*DataPtr)(PyObject *);

/* (tensors, into, Tensor, Parameter, data_ptr) -> whether all were such tensors, and their addresses are in `into`.
   No Python code runs in between, so the list and what it holds stay as they are. */
static PyObject *read_addresses(PyObject *self, PyObject *args) {
  PyObject *tensors, *plain, *parameter;
  Py_buffer into;
  unsigned long long function;
  (void)self;
  if (!PyArg_ParseTuple(args, "O!w*OOK", &PyList_Type, &tensors, &into, &plain, &parameter, &function)) return NULL;
  DataPtr data_ptr = (DataPtr)(uintptr_t)function;
  int64_t *found = (int64_t *)into.buf;
  Py_ssize_t n = PyList_GET_SIZE(tensors);
  int known = into.len == n * (Py_ssize_t)sizeof(int64_t);
  for (Py_ssize_t i = 0; known && i < n; i++) {
    PyObject *tensor = PyList_GET_ITEM(tensors, i);
    known = Py_TYPE(tensor) == (PyTypeObject *)plain || Py_TYPE(tensor) == (PyTypeObject *)parameter;
    if (known) found[i] = (int64_t)(intptr_t)data_ptr(tensor);
  }
  PyBuffer_Release(&into);
  return PyBool_FromLong(known);
}

/* (list, list) -> whether both hold the same objects. */
static PyObject *same_objects(PyObject *self, PyObject *args) {
  PyObject *left, *right;
  (void)self;
  if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &left, &PyList_Type, &right)) return NULL;
  Py_ssize_t n = PyList_GET_SIZE(left);
  int same = n == PyList_GET_SIZE(right);
  for (Py_ssize_t i = 0; same && i < n; i++) same = PyList_GET_ITEM(left, i) == PyList_GET_ITEM(right, i);
  return PyBool_FromLong(same);
}

static PyMethodDef methods[] = {{"read", read_addresses, METH_VARARGS, NULL},
                                {"same", same_objects, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tensor_addresses", NULL, -1, methods,
                                    NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_tensor_addresses(void) { return PyModule_Create(&module); }
"""


class Addresses:
    """The addresses of some columns of tensors.

    Args:
        columns, tensors: how many columns there are, and how many tensors in each.
        builds: whether the compiled function is made if nobody has made it yet.

    Attributes:
        found: int64 [columns, tensors], what the last ``read`` found.
    """

    def __init__(self, columns: int, tensors: int, *, builds: bool = True) -> None:
        self._builds = builds
        self.found = np.zeros((columns, tensors), dtype=np.int64)
        self._rows = list(self.found)
        self._comparable = tensors >= WORTHWHILE

    def read(self, columns: Sequence[list[Tensor]], *, alike: bool) -> npt.NDArray[np.int64]:
        """Asks all tensors where they are.

        Args:
            columns: the tensors.
            alike: whether :class:`~.tensor_facts.Facts` of the tensors at the last ``read`` hold for these. That they
                were met in Python before, and are still like that, is what keeps torch's function from throwing a C++
                exception for a tensor without memory, which nobody could catch.
        """
        if not alike:
            # Facts may be older than the last change, so those that could once not be compared count until the end.
            self._comparable = self._comparable and all(map(comparable, columns))
        functions = _functions(build=self._builds) if alike and self._comparable else None
        for column, row in zip(columns, self._rows, strict=True):
            if functions is None or not functions.read(column, row):
                row[:] = read_plainly(column)
        return self.found


def same(left: list[Any], right: list[Any]) -> bool:
    """Whether both lists hold the same objects. Compiles nothing: who reads addresses does."""
    functions = _functions(build=False) if len(left) >= WORTHWHILE else None
    if functions is not None:
        return functions.same(left, right)
    return len(left) == len(right) and all(map(is_, left, right))


def _functions(*, build: bool) -> Native | None:
    return native() if build or native.cache_info().currsize else None


def read_plainly(column: Sequence[Tensor]) -> npt.NDArray[np.int64]:
    """The same in Python."""
    return np.fromiter(map(Tensor.data_ptr, column), np.int64, len(column))


@functools.cache
def native() -> Native | None:
    """Functions that take a tenth of the time that Python takes for it.

    Compiled by Triton, which keeps it for other processes and compiles its launchers the same way. None where torch's
    function or a compiler is missing, or what they do is not what they did in torch 2.13 and Triton 3.7.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None  # the list could change meanwhile
    try:
        from torch._C._dynamo import guards
        from triton.runtime.build import compile_module_from_src

        data_ptr = guards._torchinductor_pyobject_tensor_data_ptr  # type: ignore[attr-defined]
        compiled = compile_module_from_src(src=SOURCE, name="tensor_addresses")

        def read(column: list[Tensor], into: npt.NDArray[np.int64]) -> bool:
            found: bool = compiled.read(column, into, Tensor, torch.nn.Parameter, data_ptr)
            return found

        return Native(read, compiled.same) if _right(read) else None
    except (ImportError, AttributeError, TypeError, RuntimeError, ValueError, OSError, subprocess.SubprocessError):
        return None


def _right(read: Read) -> bool:
    """Whether ``read`` finds what Python finds; Python goes first, which refuses a tensor without memory."""
    tensors = [torch.empty(3, device="cpu"), torch.nn.Parameter(torch.empty(2, 2, device="cpu"))]
    tensors.append(tensors[0][1:])
    expected, found = read_plainly(tensors), np.zeros(len(tensors), dtype=np.int64)
    return read(tensors, found) and np.array_equal(found, expected)
