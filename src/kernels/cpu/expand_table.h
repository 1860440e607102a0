// Sparse codes to the columns they belong to, eight at a time: a table says for each byte of a mask
// which code every column takes. Faster than pdep where that is fast, much where it is not.
#pragma once

#include <cstdint>

#include "codec/matrix.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr uint8_t kNoCode = 0x80;

struct Patterns {
  constexpr Patterns() : columns{} {
    for (int mask = 0; mask < 256; ++mask) {
      uint8_t next = 0;
      for (int i = 0; i < 8; ++i) {
        const bool stored = (mask >> i & 1) != 0;
        columns[mask][i] = stored ? next++ : kNoCode;
      }
    }
  }
  uint8_t columns[256][8];
};
constexpr Patterns kPatterns;

constexpr int kUnpacked = codec::kBlockColumns + static_cast<int>(sizeof(Ints));
constexpr int kExpandReads = kUnpacked / 2;  // bytes

// Codes of one row's block.
struct RowCodes {
  // Levels of the kth register's columns. table: those of the 16 codes, for all rows.
  Ints levels(int k, Ints table) const {
    return look_up(table, load_bytes(column + k * static_cast<int>(sizeof(Ints))));
  }
  alignas(64) uint8_t next[kUnpacked];               // as they are stored, a byte each
  alignas(64) uint8_t column[codec::kBlockColumns];  // in their columns
};

// Takes the codes that lie from `from` on, two a byte, the low one first; reads kExpandReads bytes.
// For all rows before any is expanded: what was just written is slow to read at another width.
inline __attribute__((always_inline)) void read_codes(const uint8_t* from, RowCodes& row) {
  for (int i = 0; i < kUnpacked; i += static_cast<int>(sizeof(Ints))) {
    store_bytes(row.next + i, unpack_nibbles(from + i / 2));
  }
}

// Column c takes the next code where bit c % 8 of mask[c / 8] is set, else code 0; the first `skip`
// (0 or 1) are passed over. Returns how many codes were taken.
inline __attribute__((always_inline)) uint32_t expand_codes(uint32_t skip, const uint8_t* mask,
                                                            RowCodes& row) {
  const uint8_t* next = row.next + skip;
#pragma GCC unroll 16
  for (int i = 0; i < codec::kBlockColumns / 8; ++i) {
    shuffle_eight(next, kPatterns.columns[mask[i]], row.column + 8 * i);
    next += __builtin_popcount(mask[i]);
  }
  return static_cast<uint32_t>(next - row.next) - skip;
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
