// Sixteen positions of an f16 cache for one warp of the token kernel, copied into its slots while
// it has nothing to compute: rows of keys, then of values, 256 bytes each. Their vectors are
// permuted so that eight lanes of a product's operand read different banks.
#pragma once

#include "kernels/cuda/attention_half.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

constexpr int kStagedRow = 2 * kFastHeadDim;
constexpr int kStagedKeys = kTilePositions * kStagedRow;
static_assert(2 * kStagedKeys <= kWarpSlotsBytes);

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

// Asks for sixteen positions, zeros where there is none. row: in the cache, of position lane % 16,
// or -1.
__device__ __forceinline__ void stage(const CacheView& cache, int row, int head_dim, uint8_t* to) {
  const int lane = lane_index();
  const int vector = lane % 16;
#pragma unroll 2
  for (int i = 0; i < kTilePositions; i += 2) {
    const int from = __shfl_sync(kAllLanes, row, i + lane / 16);
    const bool there = from >= 0 && 8 * vector < head_dim;
    const int64_t skipped = there ? from : 0;
    uint8_t* at = to + staged_offset(i + lane / 16, vector);
    copy_vector_or_zero(at, cache.k + skipped * cache.k_row + 16 * vector, there);
    copy_vector_or_zero(at + kStagedKeys, cache.v + skipped * cache.v_row + 16 * vector, there);
  }
}

// Position `row` of the tile, which was not in the cache yet. By a warp.
__device__ __forceinline__ void stage_newest(const float* key, const float* value, int row,
                                             int head_dim, uint8_t* to) {
  const int dim = 4 * lane_index();
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
