"""The one kernel that every element-wise optimizer shares: one launch updates all tensors of a bucket.

A launch table in device memory says where the tensors are. Each program serves one chunk of one tensor:

    load  →  transform (sign, decay)  →  rule  →  store

``UPDATE`` is the rule: ``(param, grad, state, scalars, FLAGS) -> (param, state)`` on blocks in compute precision.
"""

import triton
import triton.language as tl

from . import INTERPRETED

RUNS_INTERPRETED = tl.constexpr(INTERPRETED)
NO_DECAY = tl.constexpr(0)
COUPLED = tl.constexpr(1)
DECOUPLED = tl.constexpr(2)


@triton.jit
def tensor_address(addresses, slot, n_tensors, t, DTYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """A pointer from the table. ``ALIGNED`` promises 16 bytes, which is what makes an access 128 bits wide.

    The hint must follow the cast, and must be true: a broken promise is a fault on the device.
    """
    p_tensor = tl.load(addresses + slot * n_tensors + t).to(tl.pointer_type(DTYPE))
    if ALIGNED:
        p_tensor = tl.multiple_of(p_tensor, 16)
    return p_tensor


@triton.jit
def chunk_addresses(addresses, n_tensors, t, start, DTYPES: tl.constexpr, ALIGNED: tl.constexpr):
    """Where a chunk of each of a member's tensors begins."""
    p_tensors = ()
    for i in tl.static_range(len(DTYPES)):
        p_tensors = p_tensors + (tensor_address(addresses, i, n_tensors, t, DTYPES[i], ALIGNED) + start,)
    return p_tensors


@triton.jit
def load_row(p_row, LENGTH: tl.constexpr):
    """The numbers of a row, one by one."""
    row = ()
    for i in tl.static_range(LENGTH):
        row = row + (tl.load(p_row + i),)
    return row


@triton.jit
def store_rounded(p_tensor, b_value, m_chunk, MASKED: tl.constexpr):
    """Stores to the nearest value of the tensor's dtype, ties to even."""
    if RUNS_INTERPRETED and p_tensor.dtype.element_ty == tl.bfloat16:
        # The interpreter's own conversion loses the carry from the mantissa into the exponent.
        bits = b_value.to(tl.float32).to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        b_value = tl.where(b_value == b_value, rounded, 0x7FC0).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    if MASKED:
        tl.store(p_tensor, b_value, mask=m_chunk)
    else:
        tl.store(p_tensor, b_value)


@triton.jit
def load_chunk(p_tensors, o_chunk, m_chunk, COMPUTE: tl.constexpr, MASKED: tl.constexpr):
    """A chunk of each tensor, in compute precision."""
    b_tensors = ()
    for i in tl.static_range(len(p_tensors)):
        if MASKED:
            b_tensors = b_tensors + (tl.load(p_tensors[i] + o_chunk, mask=m_chunk, other=0.0).to(COMPUTE),)
        else:
            b_tensors = b_tensors + (tl.load(p_tensors[i] + o_chunk).to(COMPUTE),)
    return b_tensors


@triton.jit
def transform(b_param, b_grad, decay, MAXIMIZE: tl.constexpr, DECAY: tl.constexpr):
    """What happens before the rule: sign, then weight decay."""
    if MAXIMIZE:
        b_grad = -b_grad
    if DECAY == COUPLED:
        b_grad += decay * b_param
    if DECAY == DECOUPLED:
        b_param *= decay
    return b_param, b_grad


@triton.jit
def update_chunk(
    p_tensors,
    o_chunk,
    m_chunk,
    row,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    COMPUTE: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    DECAY: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One chunk: load, transform, rule, store."""
    b_tensors = load_chunk(p_tensors, o_chunk, m_chunk, COMPUTE, MASKED)
    b_param, b_grad = transform(b_tensors[0], b_tensors[1], row[0], MAXIMIZE, DECAY)
    b_param, b_state = UPDATE(b_param, b_grad, b_tensors[2:], row[1:], FLAGS)
    store_rounded(p_tensors[0] + o_chunk, b_param, m_chunk, MASKED)
    for i in tl.static_range(len(b_state)):
        store_rounded(p_tensors[2 + i] + o_chunk, b_state[i], m_chunk, MASKED)


@triton.jit(do_not_specialize=["n_tensors"])
def update_bucket(
    addresses,
    numels,
    chunk_tensor,
    chunk_index,
    rows,
    tensor_row,
    n_tensors,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    DTYPES: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    DECAY: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Updates every tensor of a bucket.

    Args:
        addresses: int64 [slots, n_tensors]; slots are the parameter, the gradient, then the states.
        numels: int64 [n_tensors].
        chunk_tensor, chunk_index: int32 [programs]; the tensor a program serves, and which chunk of it.
        rows: [n_rows, ROW_LENGTH] in compute precision; the decay's number, then the rule's scalars.
        tensor_row: int32 [n_tensors]; the row that a tensor uses.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    # In int64: a tensor may have more than 2³¹ elements.
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = tl.load(numels + t)
    row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)
    p_tensors = chunk_addresses(addresses, n_tensors, t, start, DTYPES, ALIGNED)
    o_chunk = tl.arange(0, BLOCK)
    if start + BLOCK <= numel:  # a mask on this path would split every 128-bit access into scalars
        update_chunk(p_tensors, o_chunk, o_chunk < BLOCK, row, UPDATE, FLAGS, COMPUTE, MAXIMIZE, DECAY, False)
    else:
        update_chunk(p_tensors, o_chunk, o_chunk < numel - start, row, UPDATE, FLAGS, COMPUTE, MAXIMIZE, DECAY, True)


@triton.jit(do_not_specialize=["n_tensors"])
def refresh_rows(
    addresses,
    hyper,
    tensor_group,
    rows,
    n_tensors,
    SCALARS: tl.constexpr,
    STEP_DTYPE: tl.constexpr,
    N_HYPER: tl.constexpr,
    N_CARRIED: tl.constexpr,
    DECAY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Advances step counts that live on the device, and works out each tensor's row from them, in fp64.

    Args:
        addresses: int64 [1 + N_CARRIED, n_tensors]; each tensor's step count, then the numbers that the rule carries.
        hyper: fp64 [n_groups, N_HYPER]; lr, weight decay, then what ``SCALARS`` takes after the carried numbers.
        tensor_group: int32 [n_tensors].
        rows: [n_tensors, row length], written in its own dtype.
    """
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_tensor = t < n_tensors
    p_counts = ()
    h = ()
    for i in tl.static_range(1 + N_CARRIED):
        p_count = tl.load(addresses + i * n_tensors + t, mask=m_tensor, other=0).to(tl.pointer_type(STEP_DTYPE))
        p_counts = p_counts + (p_count,)
        h = h + (tl.load(p_count, mask=m_tensor, other=0.5).to(tl.float64),)
    step = h[0] + 1
    tl.store(p_counts[0], step, mask=m_tensor)
    p_hyper = hyper + tl.load(tensor_group + t, mask=m_tensor, other=0) * N_HYPER
    lr = tl.load(p_hyper, mask=m_tensor, other=0.5)
    decay = tl.load(p_hyper + 1, mask=m_tensor, other=0.5)
    for i in tl.static_range(2, N_HYPER):
        h = h + (tl.load(p_hyper + i, mask=m_tensor, other=0.5),)
    scalars = SCALARS(step, h[1:])
    for i in tl.static_range(N_CARRIED):
        tl.store(p_counts[1 + i], scalars[i], mask=m_tensor)
    if DECAY == DECOUPLED:
        decay = 1 - lr * decay
    p_row = rows + t * (1 + len(scalars))
    tl.store(p_row, decay, mask=m_tensor)
    for i in tl.static_range(len(scalars)):
        tl.store(p_row + 1 + i, scalars[i], mask=m_tensor)
