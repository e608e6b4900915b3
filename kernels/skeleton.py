"""The one kernel that every element-wise optimizer shares: one launch updates all tensors of a bucket.

A launch table in device memory says where the tensors are. Each program serves one chunk of one tensor:

    load  →  transform (scale, clip, sign, decay)  →  rule  →  decays that look at what it did  →  store

``UPDATE`` is the rule: ``(param, grad, state, scalars, FLAGS) -> (param, state)`` on blocks in compute precision.
"""

import triton
import triton.language as tl

from . import INTERPRETED

RUNS_INTERPRETED = tl.constexpr(INTERPRETED)
NO_DECAY = tl.constexpr(0)
COUPLED = tl.constexpr(1)
DECOUPLED = tl.constexpr(2)
CAUTIOUS = tl.constexpr(3)
N_TRANSFORM = tl.constexpr(5)
"""Of a row, the transform's: max_value, adaptive_clip, adaptive_eps, decay, l1."""

GUARDED = tl.constexpr(0)
SCALED = tl.constexpr(1)
ADAPTIVE = tl.constexpr(2)
CLAMPED = tl.constexpr(3)
MAXIMIZE = tl.constexpr(4)
DECAY = tl.constexpr(5)
L1 = tl.constexpr(6)
"""Where ``TRANSFORM`` holds which choice."""

SCALE = tl.constexpr(1)
SKIP = tl.constexpr(2)
"""Where ``signal`` holds what all gradients together decided."""


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
def live(count, signal, TRANSFORM: tl.constexpr):
    """How many of ``count`` things a step changes: none, if it is skipped."""
    if TRANSFORM[GUARDED]:
        return tl.where(tl.load(signal + SKIP) != 0, 0, count)
    else:
        return count


@triton.jit
def load_signal(signal, units, unit_layout, t, start, o_chunk, m_chunk, COMPUTE: tl.constexpr, TRANSFORM: tl.constexpr):
    """What each element's gradient is multiplied with: the number of all gradients, and the one of its unit."""
    scale = 1.0
    if TRANSFORM[SCALED]:
        scale = tl.load(signal + SCALE).to(COMPUTE)
    b_unit = 1.0
    if TRANSFORM[ADAPTIVE]:
        width = tl.load(unit_layout + t * 3 + 1)
        # A chunk is short: within it, 32-bit division will do, also where a unit is longer than that.
        short = tl.minimum(width, 1 << 30).to(tl.int32)
        left = tl.minimum(width - start % width, short).to(tl.int32)
        p_units = units + tl.load(unit_layout + t * 3) + start // width + (short - left + o_chunk) // short
        b_unit = tl.load(p_units, mask=m_chunk, other=1.0)
    return scale, b_unit


@triton.jit
def before_rule(b_param, b_grad, numbers, factors, TRANSFORM: tl.constexpr):
    """What happens before the rule, in this order: scale, clip, sign, decay."""
    if TRANSFORM[SCALED]:
        b_grad *= factors[0]
    if TRANSFORM[ADAPTIVE]:
        b_grad *= factors[1]
    if TRANSFORM[CLAMPED]:
        # A NaN must survive: it tells the user that training has broken down.
        b_grad = tl.minimum(b_grad, numbers[0], propagate_nan=tl.PropagateNan.ALL)
        b_grad = tl.maximum(b_grad, -numbers[0], propagate_nan=tl.PropagateNan.ALL)
    if TRANSFORM[MAXIMIZE]:
        b_grad = -b_grad
    if TRANSFORM[DECAY] == COUPLED:
        b_grad += numbers[3] * b_param
    if TRANSFORM[DECAY] == DECOUPLED:
        b_param *= numbers[3]
    if TRANSFORM[L1] == COUPLED:
        b_grad += numbers[4] * tl.where(b_param > 0, 1.0, tl.where(b_param < 0, -1.0, 0.0))
    return b_param, b_grad


@triton.jit
def after_rule(b_before, b_param, numbers, TRANSFORM: tl.constexpr):
    """The decays that look at what the rule made of the parameter."""
    if TRANSFORM[DECAY] == CAUTIOUS:
        b_param -= tl.where((b_before - b_param) * b_before >= 0, numbers[3] * b_before, 0.0)
    if TRANSFORM[L1] == DECOUPLED:
        b_inside = tl.minimum(b_param, numbers[4], propagate_nan=tl.PropagateNan.ALL)
        b_param -= tl.maximum(b_inside, -numbers[4], propagate_nan=tl.PropagateNan.ALL)
    return b_param


@triton.jit
def update_chunk(
    p_tensors,
    o_chunk,
    m_chunk,
    row,
    factors,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    COMPUTE: tl.constexpr,
    TRANSFORM: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One chunk: load, transform, rule, store."""
    b_tensors = load_chunk(p_tensors, o_chunk, m_chunk, COMPUTE, MASKED)
    b_param, b_grad = before_rule(b_tensors[0], b_tensors[1], row, factors, TRANSFORM)
    b_param, b_state = UPDATE(b_param, b_grad, b_tensors[2:], row[N_TRANSFORM:], FLAGS)
    b_param = after_rule(b_tensors[0], b_param, row, TRANSFORM)
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
    signal,
    units,
    unit_layout,
    n_tensors,
    UPDATE: tl.constexpr,
    FLAGS: tl.constexpr,
    DTYPES: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    TRANSFORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Updates every tensor of a bucket.

    Args:
        addresses: int64 [slots, n_tensors]; slots are the parameter, the gradient, then the states.
        numels: int64 [n_tensors].
        chunk_tensor, chunk_index: int32 [programs]; the tensor a program serves, and which chunk of it.
        rows: [n_rows, ROW_LENGTH] in compute precision; the transform's numbers, then the rule's scalars.
        tensor_row: int32 [n_tensors]; the row that a tensor uses.
        signal: fp64 [3], see ``norms.decide``; read if TRANSFORM asks for it.
        units, unit_layout: see ``units.finish_units``; read if TRANSFORM clips adaptively.
        TRANSFORM: see the names above.
    """
    pid = tl.program_id(0)
    t = tl.load(chunk_tensor + pid)
    # In int64: a tensor may have more than 2³¹ elements.
    start = tl.load(chunk_index + pid).to(tl.int64) * BLOCK
    numel = live(tl.load(numels + t), signal, TRANSFORM)
    row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)
    p_tensors = chunk_addresses(addresses, n_tensors, t, start, DTYPES, ALIGNED)
    o_chunk = tl.arange(0, BLOCK)
    m_chunk = o_chunk < numel - start
    factors = load_signal(signal, units, unit_layout, t, start, o_chunk, m_chunk, COMPUTE, TRANSFORM)
    if start + BLOCK <= numel:  # a mask on this path would split every 128-bit access into scalars
        update_chunk(p_tensors, o_chunk, m_chunk, row, factors, UPDATE, FLAGS, COMPUTE, TRANSFORM, False)
    else:
        update_chunk(p_tensors, o_chunk, m_chunk, row, factors, UPDATE, FLAGS, COMPUTE, TRANSFORM, True)


@triton.jit(do_not_specialize=["n_tensors"])
def refresh_rows(
    addresses,
    hyper,
    tensor_group,
    signal,
    rows,
    n_tensors,
    SCALARS: tl.constexpr,
    STEP_DTYPE: tl.constexpr,
    N_HYPER: tl.constexpr,
    N_CARRIED: tl.constexpr,
    TRANSFORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Advances step counts that live on the device, and works out each tensor's row from them, in fp64.

    Args:
        addresses: int64 [1 + N_CARRIED, n_tensors]; each tensor's step count, then the numbers that the rule carries.
        hyper: fp64 [n_groups, N_HYPER]; lr, the limits of clipping, weight decay and L1 penalty, then what ``SCALARS``
            takes after the carried numbers.
        tensor_group: int32 [n_tensors].
        signal: as for ``update_bucket``; a step that is skipped is not counted.
        rows: [n_tensors, row length], written in its own dtype.
    """
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_tensor = t < n_tensors
    m_count = t < live(n_tensors, signal, TRANSFORM)
    p_counts = ()
    carried = ()
    for i in tl.static_range(1 + N_CARRIED):
        p_count = tl.load(addresses + i * n_tensors + t, mask=m_tensor, other=0).to(tl.pointer_type(STEP_DTYPE))
        p_counts = p_counts + (p_count,)
        carried = carried + (tl.load(p_count, mask=m_tensor, other=0.5).to(tl.float64),)
    step = carried[0] + 1
    tl.store(p_counts[0], step, mask=m_count)
    p_hyper = hyper + tl.load(tensor_group + t, mask=m_tensor, other=0) * N_HYPER
    h = ()
    for i in tl.static_range(N_HYPER):
        h = h + (tl.load(p_hyper + i, mask=m_tensor, other=0.5),)
    lr = h[0]
    decay = h[4]
    l1 = h[5]
    if TRANSFORM[DECAY] >= DECOUPLED:
        decay = lr * decay
    if TRANSFORM[DECAY] == DECOUPLED:
        decay = 1 - decay
    if TRANSFORM[L1] == DECOUPLED:
        l1 = lr * l1
    scalars = SCALARS(step, carried[1:] + h[N_TRANSFORM + 1 :])
    for i in tl.static_range(N_CARRIED):
        tl.store(p_counts[1 + i], scalars[i], mask=m_count)
    row = (h[1], h[2], h[3], decay, l1) + scalars
    p_row = rows + t * len(row)
    for i in tl.static_range(len(row)):
        tl.store(p_row + i, row[i], mask=m_tensor)
