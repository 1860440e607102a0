// Products with many inputs: a panel of rows and columns is decoded once into the caches, then
// multiplied with all inputs, tile by tile.
#pragma once

#include "kernels/cpu/tiles.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kPanelRows = codec::kRowPadding;
constexpr int kPanelStrands = kPanelRows / kRowsPerVector;
constexpr int kPanelBlocks = 16;     // 64 KiB decoded, against 32 KiB of a tile's activations
constexpr int kStrandsPerSweep = 2;  // of a panel, against one tile

struct alignas(64) Panel {
  Ints w[kPanelStrands][kPanelBlocks][kVectors];
};

// A strand of a panel: already decoded.
template <class SourceLevels>
struct PanelSource {
  using Levels = SourceLevels;
  static constexpr int kBlockBytes = sizeof(Ints) * kVectors;
  void load(const uint8_t* at, Ints* w) const {
    for (int k = 0; k < kVectors; ++k) w[k] = load_bytes(at + k * sizeof(Ints));
  }
};

// What a panel is part of: its first row, where the rows end, and their scales [rows].
struct PanelRows {
  int64_t begin;
  int64_t end;
  const float* scale;
  float unit;
};

template <class Levels>
void multiply_tile(const Panel& panel, int strand, int64_t blocks, const InputTile& x,
                   const PanelRows& rows, int64_t token, const Output& out) {
  Floats sums[kTileTokens * kStrandsPerSweep];
  for (Floats& sum : sums) sum = zeros();
  const uint8_t* at[kStrandsPerSweep];
  for (int s = 0; s < kStrandsPerSweep; ++s) {
    at[s] = reinterpret_cast<const uint8_t*>(panel.w[strand + s]);
  }
  multiply_strands<kStrandsPerSweep, 0>(PanelSource<Levels>{}, at, blocks, x, sums);
  for (int t = 0; t < x.tokens; ++t) {
    for (int s = 0; s < kStrandsPerSweep; ++s) {
      const int64_t row = rows.begin + (strand + s) * kRowsPerVector;
      store_strand(sums[t * kStrandsPerSweep + s], row, rows.end, rows.scale, rows.unit, out,
                   token + t);
    }
  }
}

// The inputs as they are, tile by tile.
template <class Levels>
void multiply_strands_of(const Panel& panel, int64_t block, int64_t blocks, const QuantisedInput& x,
                         const PanelRows& rows, const Output& out) {
  const int64_t used = rows.end - rows.begin;
  for (int64_t token = 0; token < x.rows; token += kTileTokens) {
    const int64_t left = x.rows - token;
    const int tokens = static_cast<int>(left < kTileTokens ? left : kTileTokens);
    const InputTile tile = input_tile(x, token, block, tokens);
    for (int s = 0; s < kPanelStrands && s * kRowsPerVector < used; s += kStrandsPerSweep) {
      multiply_tile<Levels>(panel, s, blocks, tile, rows, token, out);
    }
  }
}

// Inputs that come in tiles, for the kTurnedRows rows from row `first` of the panel on.
template <class Levels>
void multiply_turned_rows(const Panel& panel, int first, int64_t block, int64_t blocks,
                          const QuantisedInput& x, const PanelRows& rows, const Output& out) {
  alignas(64) TurnedBlock turned[kPanelBlocks];
  for (int64_t b = 0; b < blocks; ++b) {
    turn_block<kPanelBlocks>(&panel.w[first / kRowsPerVector][b], turned[b]);
  }
  const TurnedRows part = {rows.begin + first, rows.end, rows.scale, rows.unit};
  const int64_t all_blocks = x.cols / codec::kBlockColumns;
  const int64_t tiles = input_tile_count(x.rows, kTileInputs);
  for (int64_t i = 0; i < tiles; ++i) {
    const InputTileRange range = input_tile_range(x.rows, kTileInputs, i);
    const int64_t inputs = range.end - range.begin;
    const int64_t at = range.begin * all_blocks + block;
    const TurnedInputs tile = {
        x.tiled + range.begin * x.cols + block * codec::kBlockColumns * inputs, x.scale + at,
        x.start + 4 * at, all_blocks};
    multiply_inputs_turned<Levels>(inputs, turned, blocks, tile, part, out, range.begin);
  }
}

// Blocks [block, block + blocks) of the panel's rows times all inputs, added to what the blocks
// before them gave.
template <class Levels>
void multiply_panel(const Panel& panel, int64_t block, int64_t blocks, const QuantisedInput& x,
                    const PanelRows& rows, const Output& out) {
  const Output part = {out.y, out.stride, block == 0 ? out.store : Store::kAdd};
  if (x.tiled == nullptr) return multiply_strands_of<Levels>(panel, block, blocks, x, rows, part);
  for (int row = 0; row < kPanelRows && rows.begin + row < rows.end; row += kTurnedRows) {
    multiply_turned_rows<Levels>(panel, row, block, blocks, x, rows, part);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
