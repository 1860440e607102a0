// How a product with 2 to 32 inputs is cut (products_few.cu): plain arithmetic, shared by host and
// device, tested without one.
//
// Rows are cut into groups, columns into slices: a block takes one slice of one group, and the last
// of a group's blocks to end adds its slices up. The inputs of a slice stay in
// shared memory; of one that is too large, passes of some columns each, two of which are there at a
// time. Within a block, row tiles and their columns are one list of stages that the warps
// divide among them in order, a range each.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/geometry.h"

namespace upg::kernels::cuda {

inline constexpr int kFewWarps = 16;
inline constexpr int kFewThreads = 32 * kFewWarps;
inline constexpr int kMostFewInputs = 32;
inline constexpr int kFewInputs = 16;    // with more, products_wgmma.cu is as fast or faster
inline constexpr int kFewTileRows = 16;  // of a row tile
inline constexpr int kMostFewSlots = 4;
inline constexpr int kMostFewSlices = 4;

// Row tiles of gate and up, eight rows of each, that make a block of 128 columns of their product.
inline constexpr int kGatedTiles = 2 * 128 / kFewTileRows;
// Such blocks that a block of the grid may have tiles of.
inline constexpr int kMostGatedBlocks = 64;

// A unit is what a warp multiplies at a time: one row tile, or two that share their inputs. A stage
// is what it asks for at a time: two row tiles by one block of columns, or one by two.
constexpr int few_unit_tiles(int inputs) { return inputs > 16 ? 2 : 1; }
constexpr int few_stage_blocks(int inputs) { return 2 / few_unit_tiles(inputs); }

// Whether a slice's inputs may come in passes.
constexpr bool few_passes(int inputs) { return inputs > 16; }

// Bytes of a row group and stage. Where two row groups would lie in the same banks, 64 bytes of odd
// ones change places with the next 64.
constexpr int few_group_bytes(int vectors, int inputs) {
  return few_stage_blocks(inputs) * vectors * 64;
}
constexpr bool few_groups_turn(int vectors, int inputs) {
  return few_group_bytes(vectors, inputs) % 128 == 0;
}
constexpr int few_slot_bytes(int vectors, int inputs) {
  return few_unit_tiles(inputs) * (kFewTileRows / 4) * few_group_bytes(vectors, inputs);
}
// A warp's sums of a unit.
constexpr int few_piece_bytes(int inputs) {
  return few_unit_tiles(inputs) * kFewTileRows * inputs * 4;
}
// Integers, scales and starts of a block of columns.
constexpr int few_block_bytes(int inputs) { return inputs * (128 + 8); }

// Blocks of columns that row tiles of gate and up are of, and how many of the tiles are one's.
constexpr Span gated_blocks(const Span& tiles) {
  return {tiles.begin / kGatedTiles, (tiles.end + kGatedTiles - 1) / kGatedTiles};
}
constexpr int gated_tiles_of(const Span& tiles, int block) {
  const int begin = block * kGatedTiles;
  const int end = begin + kGatedTiles;
  return (tiles.end < end ? tiles.end : end) - (tiles.begin > begin ? tiles.begin : begin);
}
// The most that one of `groups` touches.
constexpr int most_gated_blocks(int tiles, int groups) {
  return (tiles / groups + kGatedTiles) / kGatedTiles + 1;
}
// Whose thing `thing` is, with one of `parts` for every of `count`.
constexpr int part_of(int count, int thing, int parts) { return (parts * (thing + 1) - 1) / count; }

struct FewShape {
  int tiles;          // of rows
  int blocks;         // of columns
  int inputs;         // 8, 16 or 32
  int vectors;        // of a row and block
  bool whole_blocks;  // groups are whole blocks of 128 rows: columns of the next product's input
};

struct FewPlan {
  bool fits = false;
  int slices = 1;  // blocks of a group
  int groups = 1;
  int passes = 1;        // of a slice; several where 16 warps divide units evenly
  int slots = 0;         // of a warp, for a stage each
  int ended_at = 0;      // shared memory: sums of units
  int slots_at = 0;      // likewise: what warps ask for
  int shared_bytes = 0;  // in all
};

constexpr int pass_blocks_of(int slice_blocks, int passes) {
  return (slice_blocks + passes - 1) / passes;
}

FewPlan plan_few(const FewShape& shape, const DeviceLimits& limits) noexcept;

// Attention of tokens of different sequences (attention_few.cuh): what one of them sees of one kv
// head is cut into items of at most so many tiles of positions. Tiles begin at multiples of
// kAttentionTile, so that none leaves its page.
inline constexpr int kAttentionTile = 16;
constexpr Span attention_tiles(int position, int window) {
  const int begin = window > 0 && position >= window ? position - window + 1 : 0;
  return {begin / kAttentionTile, position / kAttentionTile + 1};
}
constexpr int attention_parts(const Span& tiles, int item_tiles) {
  return (tiles.end - tiles.begin + item_tiles - 1) / item_tiles;
}

inline constexpr int kAttentionTeams = 3;  // of a block: of them each takes an item
struct FewAttentionPlan {
  int item_tiles;   // that an item has at most
  int small_tiles;  // of tokens from small_from on, so that no team is without work
  int small_from;
  int items;
  int blocks;  // team t of block b takes item b + t blocks

  constexpr int tiles_of(int token) const { return token < small_from ? item_tiles : small_tiles; }
};
inline constexpr int kMostAttentionUnits = 1024;  // tokens times kv heads that may be divided
// Items on a multiprocessor whose parts there is room for.
inline constexpr int kMostAttentionItems = 31;
// Items as small as lets all of them run at once, one block on a multiprocessor; where there are
// more sequences than that, long ones are divided.
FewAttentionPlan plan_few_attention(std::span<const int32_t> positions, int kv_heads, int window,
                                    int multiprocessors) noexcept;

}  // namespace upg::kernels::cuda
