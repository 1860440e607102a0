// The levels of path2 and path3 blocks by one look-up a weight (VBMI, GFNI): its code and the one
// before are at most six bits, an index into a table of the 64 sums. vpermb takes the low six bits
// of an index and passes over the rest, so nothing need be masked.
//
// path3. In a word of codes, bits 0-2 are the code of column (g, 0) and bits 4-6 that of (g, 1).
// The word before is turned into bits 3-5 = code (g - 1, 0) and bits 0-2 = code (g - 1, 1): then
// one selection makes the index own + 8 * before for h = 0, and, with the own word shifted by one,
// the index before + 8 * own for h = 1.
#pragma once

#include "kernels/cpu/path_shuffle.h"

namespace upg::kernels::UPG_ISA {
namespace {

// Bits are moved within bytes by an 8 x 8 matrix: `from[i]` is the bit that becomes bit i, -1 none.
constexpr uint64_t bit_matrix(const int (&from)[8]) {
  uint64_t matrix = 0;
  for (int i = 0; i < 8; ++i) {
    if (from[i] >= 0) matrix |= uint64_t{1} << (8 * (7 - i) + from[i]);
  }
  return matrix;
}

template <uint64_t kMatrix>
inline Ints move_bits(Ints v) {
  return _mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(static_cast<int64_t>(kMatrix)), 0);
}

constexpr uint64_t kTurn = bit_matrix({4, 5, 6, 0, 1, 2, -1, -1});
// Bits 3 and 7 of vector j are bit j of the two codes of the fourth word.
constexpr uint64_t kFourth0 = bit_matrix({3, -1, -1, -1, 7, -1, -1, -1});
constexpr uint64_t kFourth1 = bit_matrix({-1, 3, -1, -1, -1, 7, -1, -1});
constexpr uint64_t kFourth2 = bit_matrix({-1, -1, 3, -1, -1, -1, 7, -1});

constexpr int kOrOfThree = 0xfe;  // truth tables of three bits
constexpr int kFirstWhereThird = 0xe4;
constexpr int kSecondWhereThird = 0xd8;

template <>
struct PathSource<3, true> {
  using Levels = SmallLevels;
  static constexpr int kBlockBytes = 64 * 3;

  explicit PathSource(const codec::PathMatrix& w) {
    const int8_t* a = reinterpret_cast<const int8_t*>(&w.level_a);
    const int8_t* b = reinterpret_cast<const int8_t*>(&w.level_b);
    uint8_t sums[2][64];
    for (int i = 0; i < 64; ++i) {
      sums[0][i] = static_cast<uint8_t>(a[i % 8] + b[i / 8] + Levels::kOffset);
      sums[1][i] = static_cast<uint8_t>(b[i % 8] + a[i / 8] + Levels::kOffset);
    }
    for (int h = 0; h < 2; ++h) table[h] = load_bytes(sums[h]);
  }

  inline __attribute__((always_inline)) void load(const uint8_t* at, Ints* w,
                                                  int64_t ahead = kPrefetchBytes) const {
    for (int i = 0; i < kBlockBytes; i += 64) __builtin_prefetch(at + i + ahead);
    const Ints v0 = load_bytes(at), v1 = load_bytes(at + 64), v2 = load_bytes(at + 128);
    const Ints fourth = _mm512_ternarylogic_epi32(move_bits<kFourth0>(v0), move_bits<kFourth1>(v1),
                                                  move_bits<kFourth2>(v2), kOrOfThree);
    const Ints words[4] = {v0, v1, v2, fourth};
    Ints before = rotate_words(move_bits<kTurn>(words[3]));
    for (int g = 0; g < 4; ++g) {
      const Ints turned = move_bits<kTurn>(words[g]);
      const Ints high = shift_right<1>(words[g]);
      w[2 * g] = look_up_sum(0, select_low(words[g], before));
      w[2 * g + 1] = look_up_sum(1, select_high(high, before));
      before = turned;
    }
  }

  // Bits 0-2 of `low` and the others of `high`. Whichever is needed no longer comes first: the
  // instruction overwrites it.
  static Ints select_low(Ints low, Ints high) {
    return _mm512_ternarylogic_epi32(low, high, splat_bytes(0x07), kFirstWhereThird);
  }
  static Ints select_high(Ints high, Ints low) {
    return _mm512_ternarylogic_epi32(high, low, splat_bytes(0x07), kSecondWhereThird);
  }
  Ints look_up_sum(int h, Ints index) const { return _mm512_permutexvar_epi8(index, table[h]); }

  Ints table[2];  // for h = 0: a[own] + b[before], for h = 1 with the halves of the index exchanged
};

// path2. A byte of the first vector holds codes (g, h) = (0, 0), (0, 1), (1, 0), (1, 1), one of the
// second those of g = 2, 3; the code before lies four bits away. For odd g that is the byte itself,
// for even g one with the upper half of the vector before.
template <>
struct PathSource<2, true> {
  using Levels = SmallLevels;
  static constexpr int kBlockBytes = 64 * 2;

  explicit PathSource(const codec::PathMatrix& w) {
    const int8_t* a = reinterpret_cast<const int8_t*>(&w.level_a);
    const int8_t* b = reinterpret_cast<const int8_t*>(&w.level_b);
    uint8_t sums[2][64];
    for (int i = 0; i < 64; ++i) {
      sums[0][i] = static_cast<uint8_t>(a[i % 4] + b[i / 16] + Levels::kOffset);
      sums[1][i] = static_cast<uint8_t>(b[i % 4] + a[i / 16] + Levels::kOffset);
    }
    even = load_bytes(sums[0]);
    odd = load_bytes(sums[1]);
  }

  inline __attribute__((always_inline)) void load(const uint8_t* at, Ints* w,
                                                  int64_t ahead = kPrefetchBytes) const {
    for (int i = 0; i < kBlockBytes; i += 64) __builtin_prefetch(at + i + ahead);
    const Ints v[2] = {load_bytes(at), load_bytes(at + 64)};
    const Ints before[2] = {rotate_words(v[1]), v[0]};
    for (int i = 0; i < 2; ++i) {
      const Ints crossed =
          _mm512_ternarylogic_epi32(v[i], before[i], splat_bytes(0x0f), kFirstWhereThird);
      w[4 * i] = _mm512_permutexvar_epi8(crossed, even);
      w[4 * i + 1] = _mm512_permutexvar_epi8(shift_right<2>(crossed), even);
      w[4 * i + 2] = _mm512_permutexvar_epi8(v[i], odd);
      w[4 * i + 3] = _mm512_permutexvar_epi8(shift_right<2>(v[i]), odd);
    }
  }

  Ints even;  // a[low bits] + b[bits 4 and 5]
  Ints odd;   // b[low bits] + a[bits 4 and 5]
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
