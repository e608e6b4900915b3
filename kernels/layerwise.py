"""The kernels that layer-wise optimizers share: what is measured on a whole tensor decides about its update.

    measure   one program per chunk: renew states that need no norm, and sum what ``MEASURE`` makes of each element
    finish    one program per tensor: add its chunks' sums, always in the same order, and make its numbers of them
    apply     one program per chunk: the update, with those numbers behind the scalars

No gradient is written, nothing is read back, and no sum depends on the order in which programs run.
"""

import triton
import triton.language as tl

from .factored import load_factors
from .skeleton import (
    N_TRANSFORM,
    after_rule,
    before_rule,
    chunk_addresses,
    live,
    load_chunk,
    load_row,
    load_signal,
    store_rounded,
    tensor_address,
)


@triton.jit
def keep(param, grad, state, scalars, FLAGS: tl.constexpr):
    """For rules that renew no state before the norms are known."""
    return state


@triton.jit
def measure_chunk(
    p_tensors,
    p_partial,
    n_partials,
    o_chunk,
    m_chunk,
    row,
    signals,
    b_factors,
    ADVANCE: tl.constexpr,
    MEASURE: tl.constexpr,
    FLAGS: tl.constexpr,
    COMPUTE: tl.constexpr,
    TRANSFORM: tl.constexpr,
    EARLY: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One chunk: load, transform, advance, measure. A masked element loads zeros, which must measure as zero."""
    b_tensors = load_chunk(p_tensors, o_chunk, m_chunk, COMPUTE, MASKED)
    b_param, b_grad = before_rule(b_tensors[0], b_tensors[1], row, signals, TRANSFORM)
    b_state = ADVANCE(b_param, b_grad, b_tensors[2:] + b_factors, row[N_TRANSFORM:], FLAGS)
    if EARLY:
        for i in tl.static_range(len(b_state)):
            store_rounded(p_tensors[2 + i] + o_chunk, b_state[i], m_chunk, MASKED)
    b_sums = MEASURE(b_param, b_grad, b_state, row[N_TRANSFORM:], FLAGS)
    for i in tl.static_range(len(b_sums)):
        b_sum = b_sums[i]
        if MASKED:
            b_sum = tl.where(m_chunk, b_sum, 0.0)
        tl.store(p_partial + i * n_partials.to(tl.int64), tl.sum(b_sum, axis=0))


@triton.jit(do_not_specialize=["n_tensors", "first_partial", "n_partials"])
def measure_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    rows,
    tensor_row,
    signal,
    units,
    unit_layout,
    factors,
    layout,
    partials,
    n_tensors,
    first_partial,
    n_partials,
    ADVANCE: tl.constexpr,
    MEASURE: tl.constexpr,
    FLAGS: tl.constexpr,
    DTYPES: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    TRANSFORM: tl.constexpr,
    EARLY: tl.constexpr,
    FACTORED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Measures every tensor of a bucket.

    Args:
        addresses, numels, chunk_tensor, chunk_index, rows, tensor_row, signal, units, unit_layout, TRANSFORM: as for
            ``skeleton.update_bucket``.
        factors, layout: as for ``factored.load_factors``, if FACTORED: the states are then its numbers.
        partials: [sums, n_partials] in compute precision; each program writes its own column.
        first_partial: the column of program 0.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = live(tl.load(numels + t), signal, TRANSFORM)
    row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)
    p_tensors = chunk_addresses(addresses, n_tensors, t, start, DTYPES, ALIGNED)
    o_chunk = tl.arange(0, BLOCK)
    m_chunk = o_chunk < numel - start
    signals = load_signal(signal, units, unit_layout, t, start, o_chunk, m_chunk, COMPUTE, TRANSFORM)
    b_factors = ()
    if FACTORED:
        b_factors = load_factors(factors, layout, t, start, o_chunk, m_chunk)
    p_partial = partials + first_partial + pid
    # fmt: off
    if start + BLOCK <= numel:
        measure_chunk(p_tensors, p_partial, n_partials, o_chunk, m_chunk, row, signals, b_factors,
                      ADVANCE, MEASURE, FLAGS, COMPUTE, TRANSFORM, EARLY, False)
    else:
        measure_chunk(p_tensors, p_partial, n_partials, o_chunk, m_chunk, row, signals, b_factors,
                      ADVANCE, MEASURE, FLAGS, COMPUTE, TRANSFORM, EARLY, True)
    # fmt: on


@triton.jit(do_not_specialize=["n_tensors", "n_partials"])
def finish_bucket(
    addresses,
    numels,
    first_chunk,
    rows,
    tensor_row,
    signal,
    partials,
    numbers,
    n_tensors,
    n_partials,
    FINISH: tl.constexpr,
    FLAGS: tl.constexpr,
    TRANSFORM: tl.constexpr,
    SLOTS: tl.constexpr,
    SLOT_DTYPES: tl.constexpr,
    N_SUMS: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Makes each tensor's numbers of its chunks' sums, in fp64.

    Args:
        first_chunk: int64 [n_tensors]; the column of ``partials`` that a tensor's first chunk wrote.
        numbers: [n_tensors, numbers of the rule], written in its own dtype.
        SLOTS: which slots of ``addresses`` hold the rule's 0-d states, of dtypes SLOT_DTYPES.
        CHUNK: elements per chunk.
    """
    t = tl.program_id(0)
    numel = live(tl.load(numels + t), signal, TRANSFORM)
    n_chunks = tl.cdiv(numel, CHUNK)
    p_first = partials + tl.load(first_chunk + t)
    o_chunk = tl.arange(0, BLOCK)
    sums = ()
    for i in tl.static_range(N_SUMS):
        b_sum = tl.zeros([BLOCK], tl.float64)
        for start in range(0, n_chunks, BLOCK):
            m_chunk = start + o_chunk < n_chunks
            p_partial = p_first + i * n_partials.to(tl.int64) + start + o_chunk
            b_sum += tl.load(p_partial, mask=m_chunk, other=0.0).to(tl.float64)
        sums = sums + (tl.sum(b_sum, axis=0),)
    row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)
    scalars = ()
    for i in tl.static_range(N_TRANSFORM, ROW_LENGTH):
        scalars = scalars + (row[i].to(tl.float64),)
    p_states = ()
    state = ()
    for i in tl.static_range(len(SLOTS)):
        p_state = tensor_address(addresses, SLOTS[i], n_tensors, t, SLOT_DTYPES[i], False)
        p_states = p_states + (p_state,)
        state = state + (tl.load(p_state).to(tl.float64),)
    found, new_state = FINISH(sums, numel.to(tl.float64), state, scalars, FLAGS)
    for i in tl.static_range(len(found)):
        tl.store(numbers + t * len(found) + i, found[i])
    for i in tl.static_range(len(new_state)):
        tl.store(p_states[i], new_state[i], mask=live(1, signal, TRANSFORM) > 0)


@triton.jit
def apply_chunk(
    p_tensors,
    o_chunk,
    m_chunk,
    row,
    signals,
    b_factors,
    numbers,
    ADVANCE: tl.constexpr,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    COMPUTE: tl.constexpr,
    TRANSFORM: tl.constexpr,
    EARLY: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One chunk: load, transform, advance unless that has been done, update, store."""
    b_tensors = load_chunk(p_tensors, o_chunk, m_chunk, COMPUTE, MASKED)
    b_param, b_grad = before_rule(b_tensors[0], b_tensors[1], row, signals, TRANSFORM)
    b_state = b_tensors[2:] + b_factors
    if not EARLY:
        b_state = ADVANCE(b_param, b_grad, b_state, row[N_TRANSFORM:], FLAGS)
    b_param, b_state = UPDATE(b_param, b_grad, b_state, row[N_TRANSFORM:] + numbers, FLAGS)
    b_param = after_rule(b_tensors[0], b_param, row, TRANSFORM)
    store_rounded(p_tensors[0] + o_chunk, b_param, m_chunk, MASKED)
    if not EARLY:
        for i in tl.static_range(len(b_state)):
            store_rounded(p_tensors[2 + i] + o_chunk, b_state[i], m_chunk, MASKED)


@triton.jit(do_not_specialize=["n_tensors"])
def apply_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    rows,
    tensor_row,
    signal,
    units,
    unit_layout,
    factors,
    layout,
    numbers,
    n_tensors,
    ADVANCE: tl.constexpr,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    DTYPES: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    N_NUMBERS: tl.constexpr,
    TRANSFORM: tl.constexpr,
    EARLY: tl.constexpr,
    FACTORED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Updates every tensor of a bucket with the numbers that were made for it. What is not used is not loaded."""
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = live(tl.load(numels + t), signal, TRANSFORM)
    row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)
    found = load_row(numbers + t * N_NUMBERS, N_NUMBERS)
    p_tensors = chunk_addresses(addresses, n_tensors, t, start, DTYPES, ALIGNED)
    o_chunk = tl.arange(0, BLOCK)
    m_chunk = o_chunk < numel - start
    signals = load_signal(signal, units, unit_layout, t, start, o_chunk, m_chunk, COMPUTE, TRANSFORM)
    b_factors = ()
    if FACTORED:
        b_factors = load_factors(factors, layout, t, start, o_chunk, m_chunk)
    # fmt: off
    if start + BLOCK <= numel:
        apply_chunk(p_tensors, o_chunk, m_chunk, row, signals, b_factors, found,
                    ADVANCE, UPDATE, FLAGS, COMPUTE, TRANSFORM, EARLY, False)
    else:
        apply_chunk(p_tensors, o_chunk, m_chunk, row, signals, b_factors, found,
                    ADVANCE, UPDATE, FLAGS, COMPUTE, TRANSFORM, EARLY, True)
    # fmt: on
