// Quantised inputs in the order in which products with many of them read them.
//
// The inputs are divided into tiles of nearly equal size, at most so many a tile as a table keeps
// sums of in registers. In a tile the four bytes of one input at columns 4 j ... 4 j + 3 follow
// those of the input before: byte (4 j) * inputs + 4 * input + (column % 4), so that a kernel walks
// through a single stream, whatever the distance between the inputs.
#pragma once

#include <cstdint>

namespace upg::kernels {

// Which inputs [begin, end) tile `tile` holds.
struct InputTileRange {
  int64_t begin;
  int64_t end;
};

// Static: kernels of every instruction set include this (see cpu/simd_avx512.h).
static constexpr int64_t input_tile_count(int64_t inputs, int64_t most) {
  return (inputs + most - 1) / most;
}

static constexpr InputTileRange input_tile_range(int64_t inputs, int64_t most, int64_t tile) {
  const int64_t count = input_tile_count(inputs, most);
  return {inputs * tile / count, inputs * (tile + 1) / count};
}

// Columns [first_column, last_column) of one tile, multiples of 4. q: [inputs, cols]; tiled: of the
// whole, tile after tile, as many bytes as q. Different parts may be filled by different threads.
void fill_input_tile(const int8_t* q, int64_t cols, InputTileRange inputs, int64_t first_column,
                     int64_t last_column, int8_t* tiled) noexcept;

}  // namespace upg::kernels
