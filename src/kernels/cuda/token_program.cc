#include "kernels/cuda/token_program.h"

#include <algorithm>
#include <cstdint>

namespace upg::kernels::cuda {
namespace {

constexpr int kAlign = 128;
constexpr int kMinPositions = 32;  // of a part of the attention

constexpr int round_up(int bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// What attention keeps in the place of partial sums and activations: vectors of a unit, each warp's
// sums, queries as halves.
constexpr int kAttentionBytes = kQueryBytes + 4 * ((kTokenHeads + 2) * kFastHeadDim +
                                                   kTokenWarps * kTokenHeads * (kFastHeadDim + 4));

}  // namespace

TokenMemory plan_token_memory(const TokenSizes& sizes, int fixed_bytes,
                              const DeviceLimits& limits) noexcept {
  TokenMemory memory;
  memory.partial_bytes = round_up(4 * row_floats_of(sizes.most_groups));
  const int blocks = chunks_of(sizes.most_blocks) * kChunk;
  memory.act_bytes =
      round_up(std::max(blocks * kBlockStride, kAttentionBytes - memory.partial_bytes));
  memory.fits = fixed_bytes + memory.act_bytes + memory.partial_bytes <= limits.shared_bytes;
  return memory;
}

int token_splits(int kv_units, int positions, int grid) noexcept {
  const int most = std::max(1, grid / std::max(1, kv_units));
  return std::clamp((positions + kMinPositions - 1) / kMinPositions, 1, std::min(most, kMaxSplits));
}

}  // namespace upg::kernels::cuda
