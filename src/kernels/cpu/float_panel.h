// A panel of an integer codec times float inputs: the oracle for what quantising activations costs.
#pragma once

#include "kernels/cpu/float_tile.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kPanelColumns = kPanelBlocks * codec::kBlockColumns;

constexpr int kFloatRows = kPanelRows / 2;  // widened at a time, to be easy on the stack

struct alignas(64) FloatPanel {
  float w[kFloatRows][kPanelColumns];
};

// One row of 16 levels, scaled.
template <class Levels>
inline void widen_levels(const uint8_t* stored, Floats scale, float* to) {
  int8_t levels[16];
  for (int i = 0; i < 16; ++i) levels[i] = static_cast<int8_t>(stored[i] - Levels::kOffset);
  for (int i = 0; i < 16; i += kLanes) store(to + i, load_int8(levels + i) * scale);
}

// The weights of a panel's rows from `first` on, those past the end left out.
template <class Levels>
void widen_panel(const Panel& panel, int64_t blocks, const PanelRows& rows, int first,
                 FloatPanel& to) {
  for (int i = 0; i < kFloatRows && rows.begin + first + i < rows.end; ++i) {
    const int row = first + i;
    const Floats scale = splat(rows.scale[rows.begin + row] * rows.unit);
    const Ints* strand = panel.w[row / kRowsPerVector][0];
    const uint8_t* at = reinterpret_cast<const uint8_t*>(strand) + row % kRowsPerVector * 16;
    for (int64_t k = 0; k < blocks * kVectors; ++k) {
      widen_levels<Levels>(at + k * kStrandBytes, scale, to.w[i] + 16 * k);
    }
  }
}

// As for quantised inputs (panel.h).
template <class Levels>
void multiply_panel(const Panel& panel, int64_t block, int64_t blocks, const FloatInput& x,
                    const PanelRows& rows, const Output& out) {
  FloatPanel widened;
  const Piece piece = {.w = reinterpret_cast<const std::byte*>(widened.w),
                       .row_bytes = kPanelColumns * static_cast<int64_t>(sizeof(float)),
                       .column = block * codec::kBlockColumns,
                       .cols = blocks * codec::kBlockColumns,
                       .token = 0,
                       .tokens = 0,
                       .store = block == 0 ? out.store : Store::kAdd,
                       .rows_ahead = 0};
  for (int first = 0; first < kPanelRows && rows.begin + first < rows.end; first += kFloatRows) {
    widen_panel<Levels>(panel, blocks, rows, first, widened);
    const int64_t begin = rows.begin + first;
    const int64_t end = begin + kFloatRows;
    multiply_pieces<F32>(piece, {begin, end < rows.end ? end : rows.end}, x, out);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
