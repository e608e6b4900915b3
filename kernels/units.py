"""Adaptive clipping: how much each unit's gradient may keep, by the size of the unit's weights.

    measure_units  one program per run of a unit's elements: sums of squares of its weights and of its gradient
    finish_units   one program per 128 units: add a unit's sums, in their order, and make its number of them

A unit is a row of a matrix, or an output of a convolution: all that belongs to one index of the first dimension.
"""

import triton
import triton.language as tl

from .skeleton import SCALE, SCALED, tensor_address


@triton.jit(do_not_specialize=["n_tensors", "n_partials"])
def measure_units(
    addresses,
    unit_layout,
    chunk_tensor,
    chunk_index,
    partials,
    n_tensors,
    n_partials,
    DTYPES: tl.constexpr,
    RUN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums squares over runs of RUN elements of a unit, in fp64.

    Args:
        addresses: int64 [slots, n_tensors]; parameters and gradients are the first two slots.
        unit_layout: int64 [n_tensors, 3]; a tensor's first unit, how many elements each of its units has, and where its
            runs begin in ``partials``.
        chunk_tensor, chunk_index: int32 [programs]; the tensor a program serves, and which of its runs, unit by unit.
        partials: fp64 [2, n_partials]; of the weights, and of the gradient.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    index = tl.load(chunk_index + pid).to(tl.int64)
    width = tl.load(unit_layout + t * 3 + 1)
    runs = tl.cdiv(width, RUN)
    first = (index % runs) * RUN
    start = (index // runs) * width + first
    length = tl.minimum(width - first, RUN)
    p_param = tensor_address(addresses, 0, n_tensors, t, DTYPES[0], False) + start
    p_grad = tensor_address(addresses, 1, n_tensors, t, DTYPES[1], False) + start
    b_params = tl.zeros([BLOCK], tl.float64)
    b_grads = tl.zeros([BLOCK], tl.float64)
    for offset in range(0, length, BLOCK):
        o_run = offset + tl.arange(0, BLOCK)
        b_param = tl.load(p_param + o_run, mask=o_run < length, other=0.0).to(tl.float64)
        b_grad = tl.load(p_grad + o_run, mask=o_run < length, other=0.0).to(tl.float64)
        b_params += b_param * b_param
        b_grads += b_grad * b_grad
    p_partial = partials + tl.load(unit_layout + t * 3 + 2) + index
    tl.store(p_partial, tl.sum(b_params, axis=0))
    tl.store(p_partial + n_partials.to(tl.int64), tl.sum(b_grads, axis=0))


@triton.jit(do_not_specialize=["n_units", "n_partials", "most_runs"])
def finish_units(
    unit_layout,
    unit_tensor,
    rows,
    tensor_row,
    signal,
    partials,
    units,
    n_units,
    n_partials,
    most_runs,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    TRANSFORM: tl.constexpr,
    RUN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Makes each unit's number: 1, or clip · max(‖w‖, ε) / ‖g‖ if that is less.

    Args:
        unit_tensor: int32 [n_units]; the tensor that a unit belongs to.
        rows, tensor_row, signal, TRANSFORM: as for ``skeleton.update_bucket``.
        units: [n_units], written in its own dtype.
        most_runs: of any unit.
    """
    u = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_unit = u < n_units
    t = tl.load(unit_tensor + u, mask=m_unit, other=0)
    p_layout = unit_layout + t * 3
    runs = tl.cdiv(tl.load(p_layout + 1), RUN)
    p_partial = partials + tl.load(p_layout + 2) + (u - tl.load(p_layout)) * runs
    b_params = tl.zeros([BLOCK], tl.float64)
    b_grads = tl.zeros([BLOCK], tl.float64)
    for i in range(most_runs):
        m_run = m_unit & (i < runs)
        b_params += tl.load(p_partial + i, mask=m_run, other=0.0)
        b_grads += tl.load(p_partial + n_partials.to(tl.int64) + i, mask=m_run, other=0.0)
    p_row = rows + tl.load(tensor_row + t, mask=m_unit, other=0) * ROW_LENGTH
    clip = tl.load(p_row + 1)
    eps = tl.load(p_row + 2)
    weight_norm = tl.sqrt(b_params).to(COMPUTE)
    grad_norm = tl.sqrt(b_grads)
    if TRANSFORM[SCALED]:
        grad_norm *= tl.load(signal + SCALE)
    grad_norm = grad_norm.to(COMPUTE)
    most = clip * tl.maximum(weight_norm, eps, propagate_nan=tl.PropagateNan.ALL)
    least = tl.full([], 1e-6, COMPUTE)  # a constant alone would be rounded to fp32
    ratio = most.to(tl.float64) / tl.maximum(grad_norm, least).to(tl.float64)
    tl.store(units + u, tl.where(grad_norm > most, ratio, 1.0), mask=m_unit)
