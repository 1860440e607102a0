// A stored matrix as the kernels see it: views into bytes that somebody else owns (the mapped
// file).
//
// One struct a codec family; `bind` of the codec table (codec.h) makes them and is the only place
// that does, so whoever holds a Matrix holds one whose every index has been checked. The byte
// layouts are drawn in docs/format.md and in the codec's own file.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

#include "base/tensor_view.h"

namespace upg::codec {

inline constexpr int kBlockColumns =
    128;                                // columns are coded, rotated and scaled in blocks of these
inline constexpr int kGroupRows = 4;    // rows that lie interleaved
inline constexpr int kRowPadding = 32;  // rows are padded to a multiple of this

constexpr int64_t blocks_of(int64_t cols) { return (cols + kBlockColumns - 1) / kBlockColumns; }
constexpr int64_t padded_cols(int64_t cols) { return blocks_of(cols) * kBlockColumns; }
constexpr int64_t padded_rows(int64_t rows) {
  return (rows + kRowPadding - 1) / kRowPadding * kRowPadding;
}

// Elements as they are, row-major.
struct RawMatrix {
  base::DType dtype = base::DType::kF32;  // kF32, kF16 or kBF16
  const std::byte* data = nullptr;        // [rows, cols], aligned to the element only
};

// path2, path3, path4: weight = scale[row] * (level_a[code] + level_b[code before]) / 63.
struct PathMatrix {
  int bits = 0;                    // 2, 3 or 4
  bool two_palettes = false;       // false: level_b is all zero and may be skipped
  const uint8_t* codes = nullptr;  // [padded_rows / 4, blocks, 64 * vectors], 64-byte aligned;
                                   // vectors of 16 bytes a row and block: 2, 3, 4 for 2, 3, 4 bits
  const float* scale = nullptr;    // [rows]
  std::array<int8_t, 16> level_a = {};  // [2^bits], |a| + |b| <= 63 at the extremes
  std::array<int8_t, 16> level_b = {};  // [2^bits]
};

// int8: weight = scale[row] * level / 127, levels -127 ... 127.
struct Int8Matrix {
  const int8_t* codes = nullptr;  // [padded_rows / 4, blocks, 8, 4, 16], 64-byte aligned
  const float* scale = nullptr;   // [rows]
};

// sparse: weight = mask bit ? scale[row] * level[code] / 63 : 0.
struct SparseMatrix {
  const uint8_t* masks = nullptr;     // [padded_rows, blocks, 16], bit c%8 of byte c/8: column c
  const uint8_t* codes = nullptr;     // 4-bit codes of the non-zeros, row by row, low nibble first;
                                      // each row group starts at a byte
  const uint32_t* offsets = nullptr;  // [padded_rows / 4 + 1], in bytes into codes
  const float* scale = nullptr;       // [rows]
  std::array<int8_t, 16> level = {};  // level[0] = 0
};

// mdcsr (format version 2): weight = scale[row] * (value / 127) * prime(index) / 104729 at the
// column that the deltas of the row add up to.
struct MdcsrMatrix {
  const int8_t* values = nullptr;           // [nnz]
  const uint8_t* deltas = nullptr;          // [nnz]
  const uint32_t* row_pointers = nullptr;   // [rows + 1]
  const uint16_t* prime_indices = nullptr;  // [nnz]
  const float* scale = nullptr;             // [rows]
};

struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::variant<RawMatrix, PathMatrix, Int8Matrix, SparseMatrix, MdcsrMatrix> view;
  // The input rotation: one bit a padded column (bit c%8 of byte c/8, 1 = minus), or nullptr for
  // none. Matrices that share an activation share this pointer.
  const uint8_t* signs = nullptr;  // [padded_cols / 8]
};

}  // namespace upg::codec
