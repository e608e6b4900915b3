"""Distances in units in the last place."""

from __future__ import annotations

import torch
from torch import Tensor


def spacing(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance between neighbouring numbers of ``dtype`` at the magnitude of ``value``, in fp64.

    Below the smallest normal number it is the spacing of the subnormals.
    """
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(value.double().abs().clamp_min(info.smallest_normal))
    return torch.ldexp(torch.full_like(value, info.eps, dtype=torch.float64), exponent - 1)


def ulp_distance(actual: Tensor, expected: Tensor) -> Tensor:
    """``|actual - expected|`` in ulps of ``actual``'s dtype at the larger of the two, elementwise.

    Args:
        actual: real or complex; complex numbers are measured part by part, in a trailing dimension of 2.
        expected: the same shape; may be of a wider dtype.

    Equal infinities and NaNs have distance 0; a finite number and an infinity or NaN have distance inf.
    """
    if actual.is_complex():
        actual, expected = torch.view_as_real(actual), torch.view_as_real(expected)
    wide_actual, wide_expected = actual.double(), expected.double()
    magnitude = torch.maximum(wide_actual.abs(), wide_expected.abs())
    difference = (wide_actual - wide_expected).abs()
    distance = difference / spacing(magnitude, actual.dtype)
    same = (wide_actual == wide_expected) | (wide_actual.isnan() & wide_expected.isnan())
    return torch.where(same, 0.0, torch.where(difference.isfinite(), distance, torch.inf))
