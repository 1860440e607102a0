#include "kernels/cuda/token_program.h"

#include <algorithm>
#include <cstdint>

namespace upg::kernels::cuda {
namespace {

constexpr int kAlign = 128;
constexpr int kMinPositions = 32;  // of a part of the attention

constexpr int round_up(int bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// What attention keeps in the place of activations: vectors of a unit, each warp's sums, queries as
// halves.
constexpr int kAttentionBytes = kQueryBytes + 4 * ((kTokenHeads + 2) * kFastHeadDim +
                                                   kTokenWarps * kTokenHeads * (kFastHeadDim + 4));

}  // namespace

int tiles_of(int blocks, int row_groups) noexcept {
  constexpr int kMost = 8;
  constexpr int kPerTile = 1;  // what a tile costs beside its chunks, in chunks
  int best = 1;
  int least = INT32_MAX;
  for (int tiles = 1; tiles <= kMost; ++tiles) {
    const int tile_blocks = (blocks + tiles - 1) / tiles;
    const int chunks = (tile_blocks + kChunk - 1) / kChunk + kPerTile;
    const int turns = (row_groups * tiles + kTokenWarps - 1) / kTokenWarps;
    if (turns * chunks >= least) continue;
    least = turns * chunks;
    best = tiles;
  }
  return best;
}

TokenMemory plan_token_memory(const TokenSizes& sizes, int fixed_bytes,
                              const DeviceLimits& limits) noexcept {
  constexpr int kScaleAndSum = 8;
  TokenMemory memory;
  memory.act_bytes =
      round_up(std::max(sizes.most_blocks * (kBlockStride + kScaleAndSum), kAttentionBytes));
  memory.partial_bytes = round_up(sizes.most_partials * 16);
  memory.fits = fixed_bytes + memory.act_bytes + memory.partial_bytes <= limits.shared_bytes;
  return memory;
}

int token_splits(int kv_units, int positions, int grid) noexcept {
  const int most = std::max(1, grid / std::max(1, kv_units));
  return std::clamp((positions + kMinPositions - 1) / kMinPositions, 1, std::min(most, kMaxSplits));
}

}  // namespace upg::kernels::cuda
