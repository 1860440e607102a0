// Single weights of any matrix, as codec::decode_rows gives them to the last bit.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

// The code of a column relative to its block; at: the row's first vector of the block.
__device__ inline int path_code(Kind kind, const uint8_t* at, int column) {
  const int i = column % 16;
  if (kind == Kind::kPath2) return at[column / 64 * 64 + i] >> (column / 16 % 4 * 2) & 3;
  if (kind == Kind::kPath4) return at[column / 32 * 64 + i] >> (column / 16 % 2 * 4) & 15;
  const int shift = column / 16 % 2 * 4;
  if (column < 96) return at[column / 32 * 64 + i] >> shift & 7;
  return (at[i] >> (shift + 3) & 1) | (at[64 + i] >> (shift + 3) & 1) << 1 |
         (at[128 + i] >> (shift + 3) & 1) << 2;
}

__device__ inline int palette_level(const uint32_t (&words)[4], int code) {
  const auto byte = [&](int i) { return static_cast<int>(words[i / 4] >> (8 * (i % 4)) & 0xffu); };
  return byte(code) - kLevelOffset;
}

// Of every kind but kMdcsr.
__device__ inline float weight_at(const MatrixView& w, int64_t row, int64_t column) {
  if (w.kind == Kind::kF32) return reinterpret_cast<const float*>(w.codes)[row * w.cols + column];
  if (!takes_integers(w.kind)) {
    const uint16_t bits = reinterpret_cast<const uint16_t*>(w.codes)[row * w.cols + column];
    return w.kind == Kind::kF16 ? half_bits_to_float(bits) : bf16_bits_to_float(bits);
  }
  const int vectors = vectors_of(w.kind);
  const int64_t block = row / codec::kGroupRows * w.blocks + column / kColumns;
  const uint8_t* at = w.codes + block * vectors * 64 + row % codec::kGroupRows * 16;
  const int c = static_cast<int>(column % kColumns);
  if (w.kind == Kind::kInt8) {
    const auto code = static_cast<int8_t>(at[c / 16 * 64 + c % 16]);
    return __fmul_rn(w.scale[row], __fdiv_rn(static_cast<float>(code), 127.0f));
  }
  int level = palette_level(w.palette.a, path_code(w.kind, at, c));
  if (w.two_palettes) {
    const int before = c >= 32 ? c - 32 : c % 16 >= 4 ? c + 92 : c + 108;
    level += palette_level(w.palette.b, path_code(w.kind, at, before));
  }
  return __fmul_rn(w.scale[row], __fdiv_rn(static_cast<float>(level), 63.0f));
}

// Calls entry(column, weight) for the stored entries of a row, 32 at a time, one a lane.
template <class Entry>
__device__ inline void for_each_mdcsr(const MatrixView& w, int64_t row, int lane,
                                      const Entry& entry) {
  int column = 0;
  const uint32_t end = w.row_pointers[row + 1];
  for (uint32_t first = w.row_pointers[row]; first < end; first += kWarp) {
    const uint32_t k = first + static_cast<uint32_t>(lane);
    int sum = k < end ? w.deltas[k] : 0;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int before = __shfl_up_sync(kAllLanes, sum, step);
      if (lane >= step) sum += before;
    }
    if (k < end) {
      const auto value = static_cast<float>(reinterpret_cast<const int8_t*>(w.codes)[k]);
      const float share = __fmul_rn(w.scale[row], __fdiv_rn(value, 127.0f));
      entry(column + sum, __fmul_rn(share, w.prime_values[w.primes[k]]));
    }
    column += __shfl_sync(kAllLanes, sum, kWarp - 1);
  }
}

}  // namespace upg::kernels::cuda
