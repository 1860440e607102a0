// Sixteen positions of an f16 cache in shared memory, for one warp: rows of keys, then of values,
// 256 bytes each. Their vectors are permuted so that eight lanes of a product's operand read
// different banks.
#pragma once

#include "kernels/cuda/attention_half.cuh"

namespace upg::kernels::cuda {

constexpr int kStagedRow = 2 * kFastHeadDim;
constexpr int kStagedKeys = kTilePositions * kStagedRow;

__device__ __forceinline__ int staged_offset(int row, int vector) {
  const int turn = (row >> 1 & 1) | ((row >> 2 ^ row) & 1) << 2;
  return row * kStagedRow + (vector ^ turn) * 16;
}

// Of a lane: as HalfTile.
struct StagedTile {
  const uint8_t* at;
  int lane;

  __device__ __forceinline__ uint4 keys(int n, int i) const {
    return *reinterpret_cast<const uint4*>(at + staged_offset(lane / 4 + 8 * n, 4 * i + lane % 4));
  }
  __device__ __forceinline__ uint4 values(int n, int i) const {
    if (n == 0) __syncwarp();  // not read before they are needed: registers
    const int row = lane % 4 * 2 + n % 2 + n / 2 * 8;
    return *reinterpret_cast<const uint4*>(at + kStagedKeys + staged_offset(row, lane / 4 * 2 + i));
  }
};

// Position `row` of the tile, which was not in the cache yet. By a warp.
__device__ __forceinline__ void stage_newest(const float* key, const float* value, int row,
                                             int head_dim, int lane, uint8_t* to) {
  const int dim = 4 * lane;
  if (dim >= head_dim) return;
  const auto store = [&](uint8_t* at, const float* from) {
    const __half2 low = __floats2half2_rn(from[dim], from[dim + 1]);
    const __half2 high = __floats2half2_rn(from[dim + 2], from[dim + 3]);
    at += staged_offset(row, dim / 8) + dim % 8 * 2;
    *reinterpret_cast<uint2*>(at) = {*reinterpret_cast<const uint32_t*>(&low),
                                     *reinterpret_cast<const uint32_t*>(&high)};
  };
  store(to, key);
  store(to + kStagedKeys, value);
}

}  // namespace upg::kernels::cuda
