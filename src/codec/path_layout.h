// Where the 2-, 3- and 4-bit codes of a block of 128 columns lie, and which weights form a path.
//
// A row and block have V = 2, 3, 4 vectors of 16 bytes. The vectors of four rows lie side by side:
//
//   byte 64 (V block + v) + 16 (row % 4) + i   of the row group   =   byte i of vector v
//
// Bits of byte i of vector v (columns relative to the block):
//
//   2 bits   7 6 | 5 4 | 3 2 | 1 0            4 bits   7 6 5 4 | 3 2 1 0
//            col   col   col   col                     column    column
//            64v+  64v+  64v+  64v+                    32v+16    32v
//            48+i  32+i  16+i  i                       +i        +i
//
//   3 bits   7 | 6 5 4 | 3 | 2 1 0            bit v of column 112+i is bit 7 of vector v,
//            .   column  .   column           bit v of column  96+i is bit 3 of vector v
//                32v+16      32v
//                +i          +i
//
// Chains. Column 32 g + 16 h + 4 j + b (g, j, b in 0 ... 3, h in 0, 1) is at position 4 j + g of
// chain 4 h + b; the code before position p is the one at p - 1, before 0 the one at 15. In
// columns: the code before lies 32 columns to the left, and for the first 32 columns 96 - 4 to the
// right, where the first four of each 16 take the last four.
#pragma once

#include <cstdint>
#include <cstring>

#include "codec/matrix.h"

namespace upg::codec {

inline constexpr int64_t kChainLength = 16;
inline constexpr int64_t kChainsPerBlock = 8;
inline constexpr int64_t kVectorBytes = 16;
inline constexpr int64_t kVectorStride =
    kGroupRows * kVectorBytes;  // from a row's vector to its next

// The column, relative to the block, of a chain's position.
constexpr int column_of(int chain, int position) {
  return 32 * (position % 4) + 16 * (chain / 4) + 4 * (position / 4) + chain % 4;
}

// The column, relative to the block, whose code comes before that of `column`.
constexpr int column_before(int column) {
  if (column >= 32) return column - 32;
  return column % 16 >= 4 ? column + 92 : column + 108;
}

// A block's codes, each moved to the column that it comes before: before[c] =
// codes[column_before(c)].
inline void shift_chains(const uint8_t* codes, uint8_t* before) noexcept {  // [128] both
  std::memcpy(before + 32, codes, 96);
  for (int c = 0; c < 32; c += 4) std::memcpy(before + c, codes + column_before(c), 4);
}

// The first byte of a row's first vector.
constexpr int64_t row_offset(int64_t row, int64_t blocks, int64_t vectors) {
  return row / kGroupRows * blocks * vectors * kVectorStride + row % kGroupRows * kVectorBytes;
}

// One row's codes of a block, codes: [128], from and to its vectors, kVectorStride apart.
template <int kBits>
void unpack_block(const uint8_t* vectors, uint8_t* codes) noexcept;
template <int kBits>
void pack_block(const uint8_t* codes, uint8_t* vectors) noexcept;

template <>
inline void unpack_block<2>(const uint8_t* vectors, uint8_t* codes) noexcept {
  for (int v = 0; v < 2; ++v, vectors += kVectorStride, codes += 64) {
    for (int i = 0; i < 16; ++i) {
      codes[i] = vectors[i] & 3;
      codes[16 + i] = vectors[i] >> 2 & 3;
      codes[32 + i] = vectors[i] >> 4 & 3;
      codes[48 + i] = vectors[i] >> 6;
    }
  }
}

template <>
inline void pack_block<2>(const uint8_t* codes, uint8_t* vectors) noexcept {
  for (int v = 0; v < 2; ++v, vectors += kVectorStride, codes += 64) {
    for (int i = 0; i < 16; ++i) {
      vectors[i] = static_cast<uint8_t>(codes[i] | codes[16 + i] << 2 | codes[32 + i] << 4 |
                                        codes[48 + i] << 6);
    }
  }
}

template <>
inline void unpack_block<3>(const uint8_t* vectors, uint8_t* codes) noexcept {
  for (int i = 0; i < 16; ++i) {
    const uint8_t v0 = vectors[i];
    const uint8_t v1 = vectors[kVectorStride + i];
    const uint8_t v2 = vectors[2 * kVectorStride + i];
    codes[i] = v0 & 7;
    codes[16 + i] = v0 >> 4 & 7;
    codes[32 + i] = v1 & 7;
    codes[48 + i] = v1 >> 4 & 7;
    codes[64 + i] = v2 & 7;
    codes[80 + i] = v2 >> 4 & 7;
    codes[96 + i] = static_cast<uint8_t>((v0 >> 3 & 1) | (v1 >> 3 & 1) << 1 | (v2 >> 3 & 1) << 2);
    codes[112 + i] = static_cast<uint8_t>(v0 >> 7 | v1 >> 7 << 1 | v2 >> 7 << 2);
  }
}

template <>
inline void pack_block<3>(const uint8_t* codes, uint8_t* vectors) noexcept {
  for (int v = 0; v < 3; ++v) {
    for (int i = 0; i < 16; ++i) {
      vectors[v * kVectorStride + i] =
          static_cast<uint8_t>(codes[32 * v + i] | codes[32 * v + 16 + i] << 4 |
                               (codes[96 + i] >> v & 1) << 3 | (codes[112 + i] >> v & 1) << 7);
    }
  }
}

template <>
inline void unpack_block<4>(const uint8_t* vectors, uint8_t* codes) noexcept {
  for (int v = 0; v < 4; ++v, vectors += kVectorStride, codes += 32) {
    for (int i = 0; i < 16; ++i) {
      codes[i] = vectors[i] & 15;
      codes[16 + i] = vectors[i] >> 4;
    }
  }
}

template <>
inline void pack_block<4>(const uint8_t* codes, uint8_t* vectors) noexcept {
  for (int v = 0; v < 4; ++v, vectors += kVectorStride, codes += 32) {
    for (int i = 0; i < 16; ++i) {
      vectors[i] = static_cast<uint8_t>(codes[i] | codes[16 + i] << 4);
    }
  }
}

}  // namespace upg::codec
