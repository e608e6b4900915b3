"""Which backends run on CPU tensors in this process, for tests that hold on all of them."""

import pytest

from torchopt_notes.engine.backends import interpreted, missing_toolchain, missing_triton

MISSING = {
    "eager": None,
    "compiled": missing_toolchain(),
    "triton": missing_triton() or (None if interpreted() else "kernels run on CPU only under TRITON_INTERPRET=1"),
}


def backend(name: str) -> object:
    """A pytest parameter that is skipped, with the reason, where the backend cannot run."""
    reason = MISSING[name]
    return pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=str(reason)))


# Interpreted kernels are slow, and the other backends run in the process without the interpreter.
HERE = ["triton"] if interpreted() else ["eager", "compiled"]
BACKENDS = [backend(name) for name in HERE]
