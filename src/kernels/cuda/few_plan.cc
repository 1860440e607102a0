#include "kernels/cuda/few_plan.h"

#include <algorithm>

namespace upg::kernels::cuda {
namespace {

constexpr int kBlockTiles = 128 / kFewTileRows;

constexpr int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }
constexpr int parts_of(int value, int part) { return (value + part - 1) / part; }

// What the busiest block does, in hundredths of a warp's stage: its stages, bringing its inputs,
// adding slices up (measured on an H200).
int cost_of(const FewShape& shape, const FewPlan& plan, int units, int slice_blocks) {
  const int blocks = pass_blocks_of(slice_blocks, plan.passes);
  const int stages = units * parts_of(blocks, few_stage_blocks(shape.inputs));
  const int inputs = plan.passes == 1 ? slice_blocks : 2 * blocks;
  return 100 * plan.passes * parts_of(stages, kFewWarps) + inputs * shape.inputs / 2 +
         (plan.slices > 1 ? 300 : 0);
}

int groups_of(const FewShape& shape, int at_once) {
  if (shape.whole_blocks) return parts_of(shape.tiles, kBlockTiles);
  return std::min(parts_of(shape.tiles, few_unit_tiles(shape.inputs)), at_once);
}

// With as few passes as there is room for.
FewPlan lay_out(const FewShape& shape, int slices, int groups, int units, int passes,
                const DeviceLimits& limits) {
  constexpr int kFixed = 1024;  // what the kernel has besides
  FewPlan plan;
  plan.slices = slices;
  plan.groups = groups;
  plan.passes = passes;
  const int piece = few_piece_bytes(shape.inputs);
  const int slice_blocks = parts_of(shape.blocks, slices);
  const int inputs =
      std::min(passes, 2) * pass_blocks_of(slice_blocks, passes) * few_block_bytes(shape.inputs);
  plan.ended_at = round_up(std::max(inputs, kFewWarps * piece), 128);
  plan.slots_at = plan.ended_at + units * piece;
  const int bytes = kFewWarps * few_slot_bytes(shape.vectors, shape.inputs);
  const int room = limits.shared_bytes - kFixed - plan.slots_at;
  plan.slots = std::min(kMostFewSlots, room > 0 ? room / bytes : 0);
  plan.shared_bytes = plan.slots_at + plan.slots * bytes;
  plan.fits = plan.slots >= 2;
  const bool more = few_passes(shape.inputs) && kFewWarps % units == 0 && shape.whole_blocks &&
                    passes < slice_blocks;
  return plan.fits || !more ? plan : lay_out(shape, slices, groups, units, passes + 1, limits);
}

}  // namespace

FewPlan plan_few(const FewShape& shape, const DeviceLimits& limits) noexcept {
  FewPlan best;
  int least = 0;
  for (int slices = 1; slices <= std::min(kMostFewSlices, shape.blocks); ++slices) {
    const int at_once = limits.multiprocessors / slices;
    const int groups = groups_of(shape, at_once);
    const int units = parts_of(parts_of(shape.tiles, groups), few_unit_tiles(shape.inputs));
    const int slice_blocks = parts_of(shape.blocks, slices);
    const int turns = parts_of(groups, at_once);
    const FewPlan plan = lay_out(shape, slices, groups, units, 1, limits);
    const int cost = turns * cost_of(shape, plan, units, slice_blocks);
    if (!plan.fits || (best.fits && cost >= least)) continue;
    best = plan;
    least = cost;
  }
  return best;
}

namespace {

constexpr int kLeastTiles = 4;  // of an item: one for each warp

// What tokens see, cut into items.
struct AttentionCut {
  std::span<const int32_t> positions;
  int kv_heads;
  int window;

  int tiles(size_t token) const {
    const Span seen = attention_tiles(positions[token], window);
    return seen.end - seen.begin;
  }
  int items(size_t token, int item_tiles) const {
    return kv_heads * attention_parts({0, tiles(token)}, item_tiles);
  }
  int items(int item_tiles) const {
    int all = 0;
    for (size_t token = 0; token < positions.size(); ++token) all += items(token, item_tiles);
    return all;
  }
  int longest() const {
    int most = kLeastTiles;
    for (size_t token = 0; token < positions.size(); ++token) most = std::max(most, tiles(token));
    return most;
  }
};

// The size of items with which there are at most so many.
int smallest_items(const AttentionCut& cut, int most) {
  int least = kLeastTiles;
  int enough = cut.longest();
  while (least < enough) {
    const int middle = least + (enough - least) / 2;
    if (cut.items(middle) <= most) {
      enough = middle;
    } else {
      least = middle + 1;
    }
  }
  return enough;
}

}  // namespace

FewAttentionPlan plan_few_attention(std::span<const int32_t> positions, int kv_heads, int window,
                                    int multiprocessors) noexcept {
  const AttentionCut cut = {positions, kv_heads, window};
  const int units = static_cast<int>(positions.size()) * kv_heads;
  const int teams = kAttentionTeams * multiprocessors;
  const int longest = cut.longest();
  const int most = std::max(teams, units + units / 4);
  const bool divided =
      units <= kMostAttentionUnits && most <= kMostAttentionItems * multiprocessors;
  FewAttentionPlan plan = {};
  plan.item_tiles = divided ? smallest_items(cut, most) : longest;
  plan.items = cut.items(plan.item_tiles);
  plan.small_from = static_cast<int>(positions.size());
  const int parts = attention_parts({0, longest}, plan.item_tiles) + 1;
  plan.small_tiles = std::max((longest + parts - 1) / parts, kLeastTiles);
  while (divided && plan.small_from > 0) {
    const auto token = static_cast<size_t>(plan.small_from - 1);
    const int more = cut.items(token, plan.small_tiles) - cut.items(token, plan.item_tiles);
    if (plan.items + more > teams) break;
    plan.items += more;
    --plan.small_from;
  }
  plan.blocks =
      std::max(parts_of(plan.items, kAttentionTeams), std::min(plan.items, multiprocessors));
  return plan;
}

}  // namespace upg::kernels::cuda
