// What kernels are given: trivially copyable views of matrices and vectors in device memory. Plain
// C++, so that the host's side of a launch can be tested without a device.
#pragma once

#include <cstdint>

#include "codec/matrix.h"

namespace upg::kernels::cuda {

// How a matrix lies in device memory: as in the file, but that `sparse` is coded again as path4
// with one palette (a bitmap costs a GPU more than the bits it saves).
enum class Kind : int32_t { kPath2, kPath3, kPath4, kInt8, kF32, kF16, kBF16, kMdcsr };

constexpr bool takes_integers(Kind kind) { return kind <= Kind::kInt8; }

// 16-byte vectors of a row and block of 128 columns.
constexpr int vectors_of(Kind kind) {
  switch (kind) {
    case Kind::kPath2:
      return 2;
    case Kind::kPath3:
      return 3;
    case Kind::kPath4:
      return 4;
    case Kind::kInt8:
      return 8;
    default:
      return 0;
  }
}

// Levels + 64, so that bytes are unsigned and sums of two do not carry; entry i is byte i.
// None has its sign bit set (codes.cuh).
struct Palette {
  uint32_t a[4];
  uint32_t b[4];
};

// What is added to a level by the palettes' offsets.
constexpr int kLevelOffset = 64;

struct MatrixView {
  Kind kind;
  bool two_palettes;
  int64_t rows;
  int64_t cols;
  int64_t blocks;
  const uint8_t* codes;  // path, int8: as codec/matrix.h; raw: elements; mdcsr: values
  const float* scale;    // [rows]
  Palette palette;
  // mdcsr alone
  const uint8_t* deltas;
  const uint32_t* row_pointers;
  const uint16_t* primes;
  const float* prime_values;  // [10000], as shares of the largest
};

// What is added to an integer sum of levels + 128 over a block of an input in a tile, so that its
// bits are those of the float kTileZero + the sum of levels: exact below 2^22. sum: of the block's
// q.
inline constexpr uint32_t kTileStart = 0x4b400000;
inline constexpr float kTileZero = 12582912.0f;  // the float of these bits: 1.5 * 2^23
constexpr uint32_t tile_start(int32_t sum) {
  return kTileStart - 128u * static_cast<uint32_t>(sum);
}

// Vectors made ready for products. Integers lie permuted in each block of 128 columns: column
// 32 g + 16 h + 4 j + b is byte 32 j + 8 g + 4 (b / 2) + 2 (b % 2) + h, where the look-ups of
// word j of vector g meet it (codes.cuh).
struct InputView {
  const int8_t* q;     // [rows, blocks * 128], or nullptr for floats
  const float* scale;  // [rows, blocks]
  const int32_t* sum;  // [rows, blocks]: sum of q over the block
  const float* x;      // [rows, blocks * 128] of float forms, zero past the last column
  int64_t blocks;
  int64_t rows;
  int64_t tiled_rows;          // not 0: integers lie in tiles, as below, without sums
  const uint32_t* tile_scale;  // then: [blocks, 2, tiled_rows], scales (floats) and starts
};

// Integers in tiles, for products that take them from shared memory as they lie: block after block,
// in each `tiled_rows` rows of 128 bytes (kTileRows in whole, or as many as a tile of few has).
// Word l of a row is columns 32 g + 16 h + 4 j + b of l = 8 g + 4 s + j, their order in the word as
// above; vectors of 16 bytes are swizzled: vector v lies at v ^ (row % 8).
inline constexpr int64_t kTileRows = 128;
constexpr int64_t tiled_rows_of(int64_t rows) {
  for (int64_t few = 8; few < kTileRows; few *= 2) {
    if (rows <= few) return few;
  }
  return (rows + kTileRows - 1) / kTileRows * kTileRows;
}

constexpr int permuted_byte(int column) {
  const int g = column / 32;
  const int h = column / 16 % 2;
  const int j = column / 4 % 4;
  const int b = column % 4;
  return 32 * j + 8 * g + 4 * (b / 2) + 2 * (b % 2) + h;
}

// y[i * stride + r] (+)= ... + bias[r]
struct OutputView {
  float* y;
  int64_t stride;
  const float* bias;  // [rows] or nullptr
  bool add;
};

Palette make_palette(const codec::PathMatrix& path) noexcept;

}  // namespace upg::kernels::cuda
