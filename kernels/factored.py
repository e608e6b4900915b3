"""Means over rows and columns: second moments that are kept as one number per row and one per column.

    factor     one program per tile of a matrix: sums of squares over the tile's rows and columns
    fold       one program per 128 rows or columns: add the tiles' sums, always in the same order, and renew the states
    mean_rows  one program per matrix: the mean over its rows' numbers

The renewed numbers stay in compute precision beside the states, so that what follows does not see them rounded.
"""

import triton
import triton.language as tl

from .skeleton import N_TRANSFORM, before_rule, live, load_row, load_signal, store_rounded, tensor_address


@triton.jit(do_not_specialize=["n_tensors"])
def factor_bucket(
    addresses,
    shapes,
    tile_tensor,
    tile_index,
    rows,
    tensor_row,
    signal,
    units,
    unit_layout,
    partials,
    n_tensors,
    DTYPE: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    TRANSFORM: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Sums the squares of every matrix of a bucket over its tiles' rows and columns.

    Args:
        addresses: int64 [slots, n_tensors]; parameters and gradients are the first two slots.
        signal, units, unit_layout, TRANSFORM: as for ``skeleton.update_bucket``.
        shapes: int64 [n_tensors, 5]; matrices, rows and columns of each tensor, and where its sums over rows and over
            columns lie in ``partials``.
        tile_tensor, tile_index: int32 [programs]; the tensor a program serves, and which of its tiles.
        partials: in compute precision; for each tile of a row of tiles one vector of sums, likewise for columns.
    """
    pid = tl.program_id(0)
    t = tl.load(tile_tensor + pid)
    tile = tl.load(tile_index + pid).to(tl.int64)
    p_shape = shapes + t * 5
    n_matrices = tl.load(p_shape)
    height = tl.load(p_shape + 1)
    width = tl.load(p_shape + 2)
    across = tl.cdiv(width, TILE_COLUMNS)
    down = tl.cdiv(height, TILE_ROWS)
    tile_column = tile % across
    tile_row = (tile // across) % down
    matrix = tile // (across * down)
    o_rows = tile_row * TILE_ROWS + tl.arange(0, TILE_ROWS)
    o_columns = tile_column * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    m_tile = (o_rows[:, None] < height) & (o_columns[None, :] < width)
    start = (matrix * height + tile_row * TILE_ROWS) * width
    o_local = tl.arange(0, TILE_ROWS)[:, None] * width + o_columns[None, :]
    o_tile = start + o_local
    b_param = tl.load(tensor_address(addresses, 0, n_tensors, t, DTYPE[0], False) + o_tile, mask=m_tile, other=0.0)
    b_grad = tl.load(tensor_address(addresses, 1, n_tensors, t, DTYPE[1], False) + o_tile, mask=m_tile, other=0.0)
    numbers = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, N_TRANSFORM)
    signals = load_signal(signal, units, unit_layout, t, start, o_local, m_tile, COMPUTE, TRANSFORM)
    _, b_grad = before_rule(b_param.to(COMPUTE), b_grad.to(COMPUTE), numbers, signals, TRANSFORM)
    b_squares = b_grad * b_grad
    p_rows = partials + tl.load(p_shape + 3) + (tile_column * n_matrices + matrix) * height + o_rows
    tl.store(p_rows, tl.sum(b_squares, axis=1), mask=o_rows < height)
    p_columns = partials + tl.load(p_shape + 4) + (tile_row * n_matrices + matrix) * width + o_columns
    tl.store(p_columns, tl.sum(b_squares, axis=0), mask=o_columns < width)


@triton.jit(do_not_specialize=["n_tensors"])
def fold_bucket(
    addresses,
    vectors,
    chunk_vector,
    chunk_index,
    rows,
    tensor_row,
    signal,
    partials,
    factors,
    n_tensors,
    STATE_DTYPES: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    TRANSFORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Renews the means over rows and over columns: r ← r + weight·(mean - r). The weight is the rule's first scalar.

    Args:
        vectors: int64 [2 · n_tensors, 5]; each tensor's rows, then each tensor's columns: how many numbers there are,
            how many tiles were summed for each, the mean's divisor, and where the sums and the renewed numbers lie.
        chunk_vector, chunk_index: int32 [programs]; the vector a program serves, and which chunk of it.
        factors: the renewed numbers, in compute precision.
    """
    pid = tl.program_id(0)
    v = tl.load(chunk_vector + pid)
    o_chunk = tl.load(chunk_index + pid).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    p_vector = vectors + v * 5
    length = tl.load(p_vector)
    tiles = tl.load(p_vector + 1)
    divisor = tl.load(p_vector + 2)
    m_chunk = o_chunk < live(length, signal, TRANSFORM)
    p_partials = partials + tl.load(p_vector + 3) + o_chunk
    b_sum = tl.zeros([BLOCK], tl.float64)
    for tile in range(tiles):
        b_sum += tl.load(p_partials + tile * length, mask=m_chunk, other=0.0).to(tl.float64)
    b_mean = (b_sum / tl.maximum(divisor, 1).to(tl.float64)).to(COMPUTE)
    t = v % n_tensors
    weight = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, N_TRANSFORM + 1)[N_TRANSFORM]
    p_factors = factors + tl.load(p_vector + 4) + o_chunk
    if v < n_tensors:
        p_state = tensor_address(addresses, 2, n_tensors, t, STATE_DTYPES[0], False) + o_chunk
        b_state = tl.load(p_state, mask=m_chunk, other=0.0).to(COMPUTE)
        b_state += weight * (b_mean - b_state)
        store_rounded(p_state, b_state, m_chunk, True)
        tl.store(p_factors, b_state, mask=m_chunk)
    else:
        p_state = tensor_address(addresses, 3, n_tensors, t, STATE_DTYPES[1], False) + o_chunk
        b_state = tl.load(p_state, mask=m_chunk, other=0.0).to(COMPUTE)
        b_state += weight * (b_mean - b_state)
        store_rounded(p_state, b_state, m_chunk, True)
        tl.store(p_factors, b_state, mask=m_chunk)


@triton.jit
def mean_rows(matrices, factors, BLOCK: tl.constexpr):
    """The mean of each matrix's row numbers.

    Args:
        matrices: int64 [programs, 3]; how many rows there are, where their numbers begin, and where the mean goes.
    """
    p_matrix = matrices + tl.program_id(0) * 3
    height = tl.load(p_matrix)
    p_rows = factors + tl.load(p_matrix + 1)
    o_chunk = tl.arange(0, BLOCK)
    b_sum = tl.zeros([BLOCK], tl.float64)
    for start in range(0, height, BLOCK):
        b_sum += tl.load(p_rows + start + o_chunk, mask=start + o_chunk < height, other=0.0).to(tl.float64)
    tl.store(factors + tl.load(p_matrix + 2), tl.sum(b_sum, axis=0) / height.to(tl.float64))


@triton.jit
def load_factors(factors, layout, t, start, o_chunk, m_chunk):
    """For each element of a chunk: its row's number, its column's, and the mean of its matrix's rows.

    Args:
        layout: int64 [n_tensors, 5]; each tensor's rows per matrix and columns, and where in ``factors`` its rows'
            numbers, its columns' and its matrices' means begin.
    """
    p_layout = layout + t * 5
    height = tl.load(p_layout)
    width = tl.load(p_layout + 1)
    first_row = start // width
    first_matrix = first_row // height
    # A chunk is short: within it, 32-bit division will do.
    o_elements = (start % width).to(tl.int32) + o_chunk
    o_rows = o_elements // width.to(tl.int32)
    o_matrices = first_matrix + ((first_row % height).to(tl.int32) + o_rows) // height.to(tl.int32)
    p_row = factors + tl.load(p_layout + 2) + first_row + o_rows
    p_column = factors + tl.load(p_layout + 3) + o_matrices * width + o_elements % width.to(tl.int32)
    p_mean = factors + tl.load(p_layout + 4) + o_matrices
    return (
        tl.load(p_row, mask=m_chunk, other=1.0),
        tl.load(p_column, mask=m_chunk, other=1.0),
        tl.load(p_mean, mask=m_chunk, other=1.0),
    )
