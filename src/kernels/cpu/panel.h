// Products with many inputs: a panel of rows and columns is decoded once into the caches, then
// multiplied with all inputs, tile by tile.
#pragma once

#include "kernels/cpu/tiles.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kPanelRows = codec::kRowPadding;
constexpr int kPanelStrands = kPanelRows / kRowsPerVector;
constexpr int kPanelBlocks = 16;  // 64 KiB decoded, against 24 KiB of a tile's activations

struct alignas(64) Panel {
  Ints w[kPanelStrands][kPanelBlocks][kVectors];
};

// What a panel is part of: its first row, where the rows end, and their scales [rows].
struct PanelRows {
  int64_t begin;
  int64_t end;
  const float* scale;
  float unit;
};

// The tiles of all inputs, for the kTurnedRows rows from row `first` of the panel on.
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

// Blocks [block, block + blocks) of the panel's rows times all inputs, which come in tiles, added
// to what the blocks before them gave.
template <class Levels>
void multiply_panel(const Panel& panel, int64_t block, int64_t blocks, const QuantisedInput& x,
                    const PanelRows& rows, const Output& out) {
  const Output part = {out.y, out.stride, block == 0 ? out.store : Store::kAdd};
  for (int row = 0; row < kPanelRows && rows.begin + row < rows.end; row += kTurnedRows) {
    multiply_turned_rows<Levels>(panel, row, block, blocks, x, rows, part);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
