"""The norm of all gradients of an optimizer, and what follows from it for the step.

    sum_bucket   one program per chunk: the sum of |g|ᵖ, and whether the chunk holds an inf or NaN
    decide       one program: add all chunks' sums, always in the same order, and make the step's numbers of them
    scale_bucket one program per chunk: gradients times one number, for those who want them rewritten

Sums over a chunk are taken in fp32 where that is exact enough; chunks are added in fp64.
"""

import triton
import triton.language as tl

from .arithmetic import inverse
from .skeleton import SCALE, SKIP, store_rounded, tensor_address


@triton.jit
def powers(b_values, ORDER: tl.constexpr):
    """|x|ᵖ, or |x| for the largest."""
    if ORDER == 2:
        return b_values * b_values
    elif (ORDER == 1) or (float("inf") == ORDER):
        return tl.abs(b_values)
    else:
        # 0 to a power is exp(-inf) = 0.
        return tl.exp(ORDER * tl.log(tl.abs(b_values)))


@triton.jit
def largest(a, b):
    """The larger number; NaN if either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def total(b_powers, ORDER: tl.constexpr):
    """All of them together."""
    if float("inf") == ORDER:
        # tl.max passes over a NaN.
        b_missed = tl.where(b_powers == b_powers, 0.0, b_powers)
        return tl.max(b_powers, axis=0) + tl.sum(b_missed, axis=0)
    else:
        return tl.sum(b_powers, axis=0)


@triton.jit
def sum_chunk(p_chunk, p_partial, n_partials, m_chunk, ORDER: tl.constexpr, MASKED: tl.constexpr):
    """One chunk: load, add up. A masked element counts as zero."""
    if MASKED:
        b_values = tl.load(p_chunk, mask=m_chunk, other=0.0)
    else:
        b_values = tl.load(p_chunk)
    if b_values.dtype != tl.float64:
        b_values = b_values.to(tl.float32)
    if (b_values.dtype == tl.float32) and ((ORDER == 1) or (ORDER == 2)):
        b_sum = total(powers(b_values, ORDER), ORDER)
        found = b_sum.to(tl.float64)
        if (b_sum < 1e-30) | (b_sum > 1e38) | (b_sum != b_sum):  # too little or too much for fp32
            found = total(powers(b_values.to(tl.float64), ORDER), ORDER)
    else:
        found = total(powers(b_values.to(tl.float64), ORDER), ORDER)
    tl.store(p_partial, found)
    b_wrong = tl.where(tl.abs(b_values) < float("inf"), 0.0, 1.0)
    tl.store(p_partial + n_partials.to(tl.int64), tl.max(b_wrong, axis=0))


@triton.jit(do_not_specialize=["slot", "n_tensors", "first_partial", "n_partials"])
def sum_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    partials,
    slot,
    n_tensors,
    first_partial,
    n_partials,
    DTYPE: tl.constexpr,
    ORDER: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums |g|ᵖ over the chunks of every tensor of a bucket.

    Args:
        addresses, numels, chunk_tensor, chunk_index: as for ``skeleton.update_bucket``, for chunks of BLOCK elements.
        partials: fp64 [2, n_partials]; each program writes its own column: the sum, and 1 if an element is not finite.
        slot: which slot of ``addresses`` to sum.
        first_partial: the column of program 0.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = tl.load(numels + t)
    o_chunk = tl.arange(0, BLOCK)
    p_chunk = tensor_address(addresses, slot, n_tensors, t, DTYPE, ALIGNED) + start + o_chunk
    p_partial = partials + first_partial + pid
    if start + BLOCK <= numel:
        sum_chunk(p_chunk, p_partial, n_partials, o_chunk < BLOCK, ORDER, False)
    else:
        sum_chunk(p_chunk, p_partial, n_partials, o_chunk < numel - start, ORDER, True)


@triton.jit
def norm_of(partials, n_partials, ORDER: tl.constexpr, BLOCK: tl.constexpr):
    """The norm of everything that was summed up, in fp64, always in the same order."""
    o_chunk = tl.arange(0, BLOCK)
    b_sum = tl.zeros([BLOCK], tl.float64)
    for start in range(0, n_partials, BLOCK):
        b_found = tl.load(partials + start + o_chunk, mask=start + o_chunk < n_partials, other=0.0)
        if float("inf") == ORDER:
            b_sum = largest(b_sum, b_found)
        else:
            b_sum += b_found
    norm = total(b_sum, ORDER)
    if ORDER == 2:
        norm = tl.sqrt(norm)
    elif (ORDER != 1) and (float("inf") != ORDER):
        norm = tl.exp(tl.log(norm) / ORDER)
    return norm


@triton.jit(do_not_specialize=["n_partials"])
def decide(
    partials,
    limits,
    grad_scale,
    found_inf,
    signal,
    skipped,
    n_partials,
    ORDER: tl.constexpr,
    PRECISION: tl.constexpr,
    MEASURED: tl.constexpr,
    LIMITED: tl.constexpr,
    UNSCALED: tl.constexpr,
    FOUND: tl.constexpr,
    CHECK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """What all gradients together decide about a step.

    Args:
        partials: as for ``sum_bucket``, of all buckets; read if MEASURED.
        limits: fp64 [1]; the largest norm, if LIMITED.
        grad_scale: fp32; what the loss was multiplied with, if UNSCALED.
        found_inf: fp32; nonzero if somebody else found an inf or NaN, if FOUND.
        signal: fp64 [3]; written: the norm, the number that gradients are to be multiplied with, and whether the step
            changes nothing.
        skipped: int64; advanced if the step changes nothing.
        PRECISION: the norm and the number are rounded to it, as torch has them.
        CHECK: inf and NaN are a reason to skip the step.
    """
    norm = tl.zeros([], tl.float64)
    skip = False
    if MEASURED:
        norm = norm_of(partials, n_partials, ORDER, BLOCK)
        if CHECK:
            skip = norm_of(partials + n_partials.to(tl.int64), n_partials, 1, BLOCK) > 0
    unscale = tl.full([], 1.0, tl.float64)
    if UNSCALED:
        unscale = 1.0 / tl.load(grad_scale).to(tl.float64)
    norm = (norm * unscale).to(PRECISION)
    scale = tl.full([], 1.0, PRECISION)
    if LIMITED:
        limit = tl.load(limits).to(PRECISION)
        padded = norm + tl.full([], 1e-6, PRECISION)
        scale = tl.minimum(inverse(padded) * limit, 1.0, propagate_nan=tl.PropagateNan.ALL)
        # A limit of inf clips nothing, not even a norm of inf or NaN.
        scale = tl.where(limit == float("inf"), 1.0, scale)
    if FOUND:
        skip = skip | (tl.load(found_inf) > 0)
    tl.store(signal, norm.to(tl.float64))
    tl.store(signal + SCALE, scale.to(tl.float64) * unscale)
    tl.store(signal + SKIP, tl.where(skip, 1.0, 0.0))
    tl.store(skipped, tl.load(skipped) + tl.where(skip, 1, 0))


@triton.jit(do_not_specialize=["slot", "n_tensors"])
def scale_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    signal,
    slot,
    n_tensors,
    DTYPE: tl.constexpr,
    COMPUTE: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Multiplies every tensor of a bucket with the number in ``signal``; nothing is written if that is 1."""
    pid = tl.program_id(0)
    scale = tl.load(signal + SCALE).to(COMPUTE)
    if scale != 1.0:
        t = tl.load(chunk_tensor + pid)
        start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
        numel = tl.load(numels + t)
        o_chunk = tl.arange(0, BLOCK)
        p_chunk = tensor_address(addresses, slot, n_tensors, t, DTYPE, ALIGNED) + start + o_chunk
        if start + BLOCK <= numel:
            store_rounded(p_chunk, tl.load(p_chunk).to(COMPUTE) * scale, o_chunk < BLOCK, False)
        else:
            m_chunk = o_chunk < numel - start
            b_values = tl.load(p_chunk, mask=m_chunk, other=0.0).to(COMPUTE)
            store_rounded(p_chunk, b_values * scale, m_chunk, True)
