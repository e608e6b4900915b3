"""Clipping gradients where they are: what the free functions need besides the kernels for optimizers.

    decide        one program: all partial sums make the norm, and the norm makes the number to multiply with
    clamp_bucket  one program per chunk: every element between ±limit
    scale_units   one program per chunk: every element times the number of its unit

``norms.sum_bucket`` comes before ``decide``, ``norms.scale_bucket`` after it; ``units`` come before ``scale_units``.
"""

import triton
import triton.language as tl

from .arithmetic import inverse
from .norms import norm_of
from .skeleton import SCALE, load_signal, store_rounded, tensor_address


@triton.jit
def rounded(value, DTYPE: tl.constexpr):
    """To the nearest number that DTYPE has, ties to even; kept in fp32, or in fp64 for fp64."""
    if tl.bfloat16 == DTYPE:
        # In bits: the interpreter's own conversion loses the carry from the mantissa into the exponent.
        bits = value.to(tl.uint32, bitcast=True)
        bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
        value = tl.where(value == value, bits.to(tl.float32, bitcast=True), value)
    elif tl.float16 == DTYPE:
        value = value.to(tl.float16).to(tl.float32)
    return value


@triton.jit(do_not_specialize=["n_partials"])
def decide(
    partials,
    norm,
    limit,
    signal,
    n_partials,
    ORDER: tl.constexpr,
    DTYPE: tl.constexpr,
    MEASURED: tl.constexpr,
    LIMITED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The norm of everything that was summed up, and the number that clips it.

    Args:
        partials: fp64; as ``norms.sum_bucket`` wrote them, if MEASURED.
        norm: 0-d; written if MEASURED, read otherwise.
        limit: fp64 [1]; the largest norm, if LIMITED.
        signal: fp64 [2]; the number is written where ``norms.scale_bucket`` looks for it, if LIMITED.
        DTYPE: of the norm.
    """
    WIDE: tl.constexpr = tl.float64 if tl.float64 == DTYPE else tl.float32
    if MEASURED:
        found = norm_of(partials, n_partials, ORDER, BLOCK)
        value = rounded(found.to(WIDE), DTYPE)
        store_rounded(norm, value, True, False)
    else:
        value = tl.load(norm).to(WIDE)
    if LIMITED:
        # As torch has it: a sum, a reciprocal and a product, each rounded to the norm's dtype.
        padded = rounded(value + tl.full([], 1e-6, WIDE), DTYPE)
        scale = rounded(rounded(inverse(padded), DTYPE) * tl.load(limit).to(WIDE), DTYPE)
        scale = tl.minimum(scale, tl.full([], 1.0, WIDE), propagate_nan=tl.PropagateNan.ALL)
        tl.store(signal + SCALE, scale.to(tl.float64))


@triton.jit
def clamp_chunk(p_chunk, m_chunk, bound, COMPUTE: tl.constexpr, MASKED: tl.constexpr):
    """One chunk. A NaN survives, as in ``torch.clamp``: it tells the user that training has broken down."""
    if MASKED:
        b_values = tl.load(p_chunk, mask=m_chunk, other=0.0).to(COMPUTE)
    else:
        b_values = tl.load(p_chunk).to(COMPUTE)
    b_values = tl.maximum(b_values, -bound, propagate_nan=tl.PropagateNan.ALL)
    b_values = tl.minimum(b_values, bound, propagate_nan=tl.PropagateNan.ALL)
    store_rounded(p_chunk, b_values, m_chunk, MASKED)


@triton.jit(do_not_specialize=["n_tensors"])
def clamp_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    limit,
    n_tensors,
    DTYPE: tl.constexpr,
    COMPUTE: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Clips every element to ±limit.

    Args:
        addresses, numels, chunk_tensor, chunk_index: as for ``skeleton.update_bucket``, for chunks of BLOCK elements.
        limit: fp64 [1].
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = tl.load(numels + t)
    bound = tl.load(limit).to(COMPUTE)
    o_chunk = tl.arange(0, BLOCK)
    p_chunk = tensor_address(addresses, 0, n_tensors, t, DTYPE, ALIGNED) + start + o_chunk
    if start + BLOCK <= numel:
        clamp_chunk(p_chunk, o_chunk < BLOCK, bound, COMPUTE, False)
    else:
        clamp_chunk(p_chunk, o_chunk < numel - start, bound, COMPUTE, True)


@triton.jit(do_not_specialize=["n_tensors"])
def scale_units(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    units,
    unit_layout,
    n_tensors,
    DTYPE: tl.constexpr,
    COMPUTE: tl.constexpr,
    TRANSFORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Multiplies every gradient, in slot 1 of ``addresses``, with its unit's number.

    Args:
        units, unit_layout: as for ``units.finish_units``.
        TRANSFORM: as for ``skeleton.update_bucket``: adaptive, and nothing else.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = tl.load(numels + t)
    o_chunk = tl.arange(0, BLOCK)
    m_chunk = o_chunk < numel - start
    p_chunk = tensor_address(addresses, 1, n_tensors, t, DTYPE, ALIGNED) + start + o_chunk
    # Nobody reads a signal here.
    factors = load_signal(units, units, unit_layout, t, start, o_chunk, m_chunk, COMPUTE, TRANSFORM)
    if start + BLOCK <= numel:
        store_rounded(p_chunk, tl.load(p_chunk).to(COMPUTE) * factors[1], m_chunk, False)
    else:
        b_values = tl.load(p_chunk, mask=m_chunk, other=0.0).to(COMPUTE)
        store_rounded(p_chunk, b_values * factors[1], m_chunk, True)
