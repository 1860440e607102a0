// Sparse codes to the columns they belong to, 64 at a time, by vpexpandb (VBMI2). Nibbles become
// bytes by vpmultishiftqb (VBMI).
#pragma once

#include <cstdint>

#include "codec/matrix.h"

namespace upg::kernels::UPG_ISA {
namespace {

// Byte i of every eight: where the eight codes of four bytes lie, and the same a nibble later.
struct NibbleOrder {
  constexpr NibbleOrder() : byte{}, bit{} {
    for (int i = 0; i < 64; ++i) {
      byte[i] = static_cast<uint8_t>(i / 8 * 4 + i % 8);
      bit[0][i] = static_cast<uint8_t>(i % 8 * 4);
      bit[1][i] = static_cast<uint8_t>(i % 8 * 4 + 4);
    }
  }
  alignas(64) uint8_t byte[64];
  alignas(64) uint8_t bit[2][64];
};
constexpr NibbleOrder kNibbles;

constexpr int kExpandReads = 32 + 64;  // bytes

// Codes of one row's block.
struct RowCodes {
  // Levels of the kth register's columns. table: those of the 16 codes, for all rows. This look-up
  // ignores the upper four bits of the codes.
  Ints levels(int k, Ints table) const { return _mm512_permutexvar_epi8(half[k], table); }
  const uint8_t* next;  // as they are stored
  Ints half[2];         // in their columns
};

// Takes the codes that lie from `from` on, two a byte, the low one first; expand_codes() reads
// kExpandReads bytes there.
inline __attribute__((always_inline)) void read_codes(const uint8_t* from, RowCodes& row) {
  row.next = from;
}

// 64 columns.
inline __attribute__((always_inline)) Ints expand_half(const uint8_t* from, uint32_t skip,
                                                       uint64_t mask) {
  const Ints bytes = _mm512_permutexvar_epi8(load_bytes(kNibbles.byte), load_bytes(from));
  const Ints codes = _mm512_multishift_epi64_epi8(load_bytes(kNibbles.bit[skip]), bytes);
  return _mm512_maskz_expand_epi8(mask, codes);
}

// Column c takes the next code where bit c % 8 of mask[c / 8] is set, else code 0; the first `skip`
// (0 or 1) are passed over. Returns how many codes were taken.
inline __attribute__((always_inline)) uint32_t expand_codes(uint32_t skip, const uint8_t* mask,
                                                            RowCodes& row) {
  uint64_t low, high;
  __builtin_memcpy(&low, mask, 8);
  __builtin_memcpy(&high, mask + 8, 8);
  row.half[0] = expand_half(row.next, skip, low);
  const uint32_t middle = skip + static_cast<uint32_t>(__builtin_popcountll(low));
  row.half[1] = expand_half(row.next + middle / 2, middle % 2, high);
  return middle - skip + static_cast<uint32_t>(__builtin_popcountll(high));
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
