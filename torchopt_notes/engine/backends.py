"""Which backend a parameter gets, and the reason in words. A fallback from an explicit request raises."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Backend = Literal["auto", "eager", "compiled", "triton"]
BACKENDS: tuple[Backend, ...] = ("auto", "eager", "compiled", "triton")

COMPILE_FROM = 2_000_000
"""The size of a bucket from which ``auto`` compiles on CPU: its elements, and ``PER_TENSOR`` more for each tensor.

Measured by ``python -m benchmarks thresholds`` (2 cores, AdamW, a first compilation of 12 s; a later process finds its
code on disk): 1 M elements in 10 tensors pay after 15,000 steps, 2 M after 8,800, 10 M after 1,600; 2 M in 2,000
tensors after 240. The figures are in ``benchmarks/results/``.
"""

PER_TENSOR = 4_000
"""Elements that a tensor counts for besides its own. On the eager backend it costs 34 µs, as some 20,000 elements
do; but small models are what tests and first trials run, and there seconds of compiling are felt more than milliseconds
of a step."""

_broken: list[str] = []

FAST_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)


class Choice(NamedTuple):
    """A backend and why it was chosen."""

    backend: Backend
    reason: str


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which works on CPU tensors. Fixed when the kernels are imported."""
    kernels = sys.modules.get("torchopt_notes.kernels")
    return kernels.INTERPRETED if kernels is not None else os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def missing_triton() -> str | None:
    """What Triton lacks here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install 'torchopt-notes[triton]')"
    import triton

    version = tuple(int(part) for part in triton.__version__.split("+")[0].split(".")[:2])
    return None if version >= (3, 4) else f"triton >= 3.4 is needed, found {triton.__version__}"


def toolchain_is_broken(reason: str) -> None:
    """Remembers that compiling for the CPU failed, so that ``auto`` does not try it again in this process."""
    _broken.append(reason)


def missing_toolchain() -> str | None:
    """What torch's compiler would miss here for CPU code, or None."""
    return _broken[0] if _broken else _missing_parts()


@functools.cache
def _missing_parts() -> str | None:
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler.split()[0]) is None:
        return f"no C++ compiler ({compiler} is not on PATH; set CXX or install one)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "the Python headers (Python.h) are not installed"
    return None


def unavailable(backend: Backend, device: torch.device) -> str | None:
    """Why ``backend`` cannot serve tensors on ``device``, or None."""
    if backend == "triton":
        if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
            return (
                f"kernels run on GPUs, the parameters are on {device}; CPU tensors are allowed only under "
                "TRITON_INTERPRET=1, set before torchopt_notes.kernels is imported"
            )
        return missing_triton() or _too_old(device)
    if backend == "compiled":
        if device.type == "cpu":
            return missing_toolchain()
        return missing_triton() if device.type == "cuda" else f"device {device.type} is not served"
    return None


def _too_old(device: torch.device) -> str | None:
    if device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (7, 0):
        return None
    return f"Triton needs compute capability 7.0, {device} has {torch.cuda.get_device_capability(device)}"


def unsuited(param: Tensor, grad: Tensor | None) -> str | None:
    """Why this tensor cannot go through a fast backend at all, or None."""
    if grad is not None and grad.layout != torch.strided:
        return "sparse gradient"
    for tensor in (param, grad):
        if tensor is not None and type(tensor) not in (Tensor, torch.nn.Parameter):
            return f"tensor subclass {type(tensor).__name__}"
    if param.dtype not in FAST_DTYPES:
        return f"dtype {param.dtype}"
    return None


def choose(name: str, requested: Backend, fused: bool, param: Tensor, why_eager: str | None) -> Choice:
    """The backend of one parameter, before its bucket's size is known (``auto`` on CPU may still turn to eager).

    ``why_eager`` says why this parameter can only be updated by the reference, or is None.

    Raises:
        RuntimeError: when what was asked for cannot serve this parameter.
    """
    if requested == "eager":
        return Choice("eager", "requested")
    natural: Backend = "triton" if param.device.type == "cuda" else "compiled"
    if requested == "auto" and not fused:
        why_not = why_eager or unavailable(natural, param.device)
        if why_not is None:
            return Choice(natural, f"auto: fused kernel for {param.device.type}" if natural == "triton" else "auto")
        return Choice("eager", f"auto: {why_not}")
    backend = natural if requested == "auto" else requested
    why_not = why_eager or unavailable(backend, param.device)
    if why_not is None:
        return Choice(backend, "fused=True" if requested == "auto" else "requested")
    if fused:
        raise RuntimeError(
            f"{name}: `fused=True` requires all the params to be floating point Tensors of supported devices, with "
            f"backend {backend!r} at hand, but {param.dtype} and {param.device.type}: {why_not}"
        )
    raise RuntimeError(
        f"{name}: backend={backend!r} cannot run here: {why_not}; use backend='auto' to allow a fallback"
    )
