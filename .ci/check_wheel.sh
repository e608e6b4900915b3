#!/usr/bin/env bash
# Builds the wheel, installs it apart from the checkout and steps an optimizer with it.
# Usage: .ci/check_wheel.sh PYTHON, where PYTHON has torch, numpy and build.
set -euo pipefail

python=$(realpath -s "${1:?usage: check_wheel.sh PYTHON}")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy: setuptools puts what an earlier build left under build/ into the wheel again.
mkdir "$work/source" "$work/elsewhere"
tar -C "$root" --exclude=./.git --exclude=./.venv --exclude=./build --exclude='*.egg-info' --exclude=__pycache__ -cf - . |
    tar -C "$work/source" -xf -

echo "wheel: building"
"$python" -m build --wheel --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}

echo "wheel: installing $(basename "$work"/dist/*.whl)"
"$python" -m pip install --quiet --no-deps --target "$work/site" "$work"/dist/*.whl

echo "wheel: importing and stepping"
cat >"$work/elsewhere/check.py" <<'PYTHON'
import sys
from pathlib import Path

site, source = map(Path, sys.argv[1:])
expected = {path.relative_to(source) for path in (source / "torchopt_notes").rglob("*.py")}
expected |= {Path("torchopt_notes", path.relative_to(source)) for path in (source / "kernels").rglob("*.py")}
expected.add(Path("torchopt_notes", "py.typed"))
missing = sorted(str(path) for path in expected if not (site / path).exists())
assert not missing, f"not in the wheel (see packages in pyproject.toml): {missing}"

import torch
import torchopt_notes
import torchopt_notes.kernels

# An editable install of the checkout may be importable as well, and must not stand in for the wheel.
for module in (torchopt_notes, torchopt_notes.kernels):
    assert Path(module.__file__).is_relative_to(site), f"{module.__name__} came from {module.__file__}"

weight = torch.nn.Parameter(torch.ones(3))
optimizer = torchopt_notes.AdamW([weight], lr=0.1)
weight.square().sum().backward()
optimizer.step()
assert (weight < 1).all(), weight
print(optimizer.explain())
PYTHON
cd "$work/elsewhere"
PYTHONPATH="$work/site" "$python" check.py "$work/site" "$work/source"
echo "wheel: good"
