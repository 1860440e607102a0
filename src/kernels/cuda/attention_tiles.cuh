// Sixteen positions of one kv head in a warp's shared memory, for each type of the cache: how they
// are brought there, how the newest one is put in, how they are attended to.
#pragma once

#include "kernels/cuda/attention_staged.cuh"
#include "kernels/cuda/ring.cuh"

namespace upg::kernels::cuda {

// k, v: row 0 of the tile in the cache. Rows that are not seen become zeros: what lies there may be
// no number.
struct F16Tiles {
  static constexpr int kBytes = 2 * kStagedKeys;

  static __device__ __forceinline__ void ask(uint8_t* to, const uint8_t* k, const uint8_t* v,
                                             int head_dim, const SeenPlaces& seen) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int vector = lane % 16;
    const int64_t skipped = 2 * head_dim * (lane / 16) + 16 * vector;
    k += skipped;
    v += skipped;
#pragma unroll
    for (int i = 0; i < kTilePositions; i += 2) {
      const int row = i + lane / 16;
      const bool there = seen.has(row) && 8 * vector < head_dim;
      uint8_t* at = to + staged_offset(row, vector);
      copy_vector_or_zero(at, k + int64_t{2} * i * head_dim, there);
      copy_vector_or_zero(at + kStagedKeys, v + int64_t{2} * i * head_dim, there);
    }
  }

  static __device__ __forceinline__ void put(uint8_t* to, const float* key, const float* value,
                                             int row, int head_dim) {
    stage_newest(key, value, row, head_dim, static_cast<int>(threadIdx.x) % kWarp, to);
  }

  static __device__ __forceinline__ void add(const uint8_t* from, const QueryTile& q, int,
                                             const SeenPlaces& seen, float factor,
                                             HalfGathered& state) {
    add_tile(StagedTile{from, static_cast<int>(threadIdx.x) % kWarp}, q, seen, factor, state);
  }

  static __device__ __forceinline__ void store(const HalfGathered& state, float scale, float* to) {
    store_gathered(state, scale, to);
  }
};

}  // namespace upg::kernels::cuda
