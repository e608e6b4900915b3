"""How far from torch's a number may be."""

import numbers

import torch

RTOL = 1e-12


def far(mine, theirs, rtol=RTOL):
    """Where two trees of numbers differ: a text, or None if they do not."""
    if isinstance(theirs, dict):
        if not isinstance(mine, dict) or mine.keys() != theirs.keys():
            return f"{mine!r} instead of {theirs!r}"
        return next((f"[{key!r}]{text}" for key in theirs if (text := far(mine[key], theirs[key], rtol))), None)
    if isinstance(theirs, (list, tuple)):
        if not isinstance(mine, (list, tuple)) or len(mine) != len(theirs):
            return f": {mine!r} instead of {theirs!r}"
        pairs = enumerate(zip(mine, theirs, strict=True))
        return next((f"[{index}]{text}" for index, (a, b) in pairs if (text := far(a, b, rtol))), None)
    if isinstance(theirs, torch.Tensor):
        same = isinstance(mine, torch.Tensor) and torch.allclose(mine, theirs, rtol=rtol, atol=0.0)
        same = same and mine.dtype == theirs.dtype and mine.shape == theirs.shape
    elif isinstance(theirs, numbers.Real) and isinstance(mine, numbers.Real):
        same = mine == theirs or abs(mine - theirs) <= rtol * max(abs(mine), abs(theirs))
    else:
        same = mine == theirs
    return None if same else f": {mine!r} instead of {theirs!r}"
