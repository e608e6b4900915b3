"""Measuring in processes of their own: what can be measured once only, or needs another environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def in_process(source: str, **environment: str) -> Any:
    """Runs a few lines in a new interpreter.

    Args:
        source: what to run. It leaves what it found, as plain values, in ``result``.
        environment: variables to set.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    program = f"import json, sys\n{source}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"a measuring process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
