// Sparse codes to the columns they belong to: pdep spreads nibbles to where a mask has bits.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace upg::kernels::UPG_ISA {

using LevelTable = __m128i;  // the level of every 4-bit code, a byte each

static inline LevelTable load_level_table(const uint8_t* levels) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
}

// Levels of 16 columns, to `to`: where the mask has bits those of the next codes (4 bits each, the
// first in the lowest), elsewhere that of code 0.
static inline void expand_columns(uint64_t codes, uint64_t mask, LevelTable levels, uint8_t* to) {
  const uint64_t nibbles = _pdep_u64(mask, 0x1111111111111111u) * 15;
  const __m128i packed = _mm_cvtsi64_si128(static_cast<int64_t>(_pdep_u64(codes, nibbles)));
  const __m128i low_bits = _mm_set1_epi8(0x0f);
  const __m128i spread = _mm_unpacklo_epi8(_mm_and_si128(packed, low_bits),
                                           _mm_and_si128(_mm_srli_epi16(packed, 4), low_bits));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(levels, spread));
}

}  // namespace upg::kernels::UPG_ISA
