#include "kernels/cuda/token_program.h"

#include <algorithm>

namespace upg::kernels::cuda {
namespace {

constexpr int kAlign = 128;
constexpr int kMaxSlots = 64;
constexpr int kMinPositions = 128;  // of a part of the attention

constexpr int round_up(int bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// What attention keeps in the place of activations: vectors of a unit, then each warp's sums.
constexpr int kAttentionBytes =
    4 * ((kTokenHeads + 2) * kFastHeadDim + kTokenWarps * kTokenHeads * (kFastHeadDim + 4));

}  // namespace

TokenMemory plan_token_memory(const TokenSizes& sizes, int fixed_bytes,
                              const DeviceLimits& limits) noexcept {
  constexpr int kScaleAndSum = 8;
  TokenMemory memory;
  memory.act_bytes =
      round_up(std::max(sizes.most_blocks * (kBlockStride + kScaleAndSum), kAttentionBytes));
  memory.partial_bytes = round_up(sizes.most_partials * 16);
  const int left = limits.shared_bytes - fixed_bytes - memory.act_bytes - memory.partial_bytes;
  memory.slots = std::clamp(left / kSlotBytes, 0, kMaxSlots);
  return memory;
}

int token_splits(int kv_units, int positions, int grid) noexcept {
  const int most = std::max(1, grid / std::max(1, kv_units));
  return std::clamp((positions + kMinPositions - 1) / kMinPositions, 1, std::min(most, kMaxSplits));
}

}  // namespace upg::kernels::cuda
