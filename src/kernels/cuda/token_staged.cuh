// Copies of sixteen positions of the cache into a warp's slots in the token kernel, while it has
// nothing to compute (attention_staged.cuh says how they lie there).
#pragma once

#include "kernels/cuda/attention_staged.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

static_assert(2 * kStagedKeys <= kWarpSlotsBytes);

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

}  // namespace upg::kernels::cuda
