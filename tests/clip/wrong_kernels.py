"""Kernels with one mistake each, which the comparisons must notice."""

import triton
import triton.language as tl
from torchopt_notes.kernels.arithmetic import divide
from torchopt_notes.kernels.skeleton import SCALE, tensor_address


@triton.jit
def no_epsilon(
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
    scale = tl.load(limit).to(tl.float32) * divide(tl.full([], 1.0, tl.float32), tl.load(norm))
    tl.store(signal + SCALE, tl.minimum(scale, 1.0).to(tl.float64))


@triton.jit
def one_rounding(
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
    scale = divide(tl.load(limit).to(tl.float32), tl.load(norm) + tl.full([], 1e-6, tl.float32))
    tl.store(signal + SCALE, tl.minimum(scale, 1.0).to(tl.float64))


@triton.jit
def nan_forgotten(
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
    t = tl.load(chunk_tensor + tl.program_id(0))
    start = tl.load(chunk_index + tl.program_id(0)).to(tl.int64) * BLOCK
    m_chunk = tl.arange(0, BLOCK) < tl.load(numels + t) - start
    p_chunk = tensor_address(addresses, 0, n_tensors, t, DTYPE, ALIGNED) + start + tl.arange(0, BLOCK)
    bound = tl.load(limit).to(COMPUTE)
    b_values = tl.load(p_chunk, mask=m_chunk, other=0.0).to(COMPUTE)
    b_values = tl.where(b_values == b_values, b_values, bound)
    tl.store(p_chunk, tl.minimum(tl.maximum(b_values, -bound), bound), mask=m_chunk)
