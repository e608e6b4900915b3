"""Ahead-of-time compilation, in processes of its own: the interpreter and the compiler exclude each other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.not_interpreted
WITHOUT_INTERPRETER = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], env=WITHOUT_INTERPRETER, capture_output=True, text=True, timeout=600
    )


def test_the_gate_passes_and_shows_its_table():
    result = run("-m", "torchopt_notes.testing.codegen", "--targets", "sm_90", "--dtypes", "fp32", "bf16+fp32 states")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "adamw-amsgrad" in result.stdout
    assert ", 0 broken" in result.stdout


UNALIGNED = """
from torchopt_notes.engine import launch
from torchopt_notes.testing import codegen

genuine = launch.update_constants
launch.update_constants = lambda variant, dtypes, *, aligned: genuine(variant, dtypes, aligned=False)
job = next(job for job in codegen.jobs(["sm_90"], ["fp32"]) if job.rule == "adam")
print(codegen.compile_job(job).broken)
"""


def test_the_gate_notices_narrow_access():
    result = run("-c", UNALIGNED)
    assert "0 128-bit loads, expected 8; 0 128-bit stores, expected 6" in result.stdout, result.stderr


def test_the_gate_refuses_the_interpreter():
    environment = {**WITHOUT_INTERPRETER, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "torchopt_notes.testing.codegen"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 2
    assert "unset it" in result.stderr
