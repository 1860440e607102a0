// The levels of path2, path3 and path4 blocks by two look-ups a weight.
//
// The levels of the 16 columns (g, h) are shuffle(A, codes(g, h)) + shuffle(B, codes(g - 1, h));
// for g = 0 the code before is that of (3, h) one word earlier, cyclically (format:
// docs/format.md). Palette A is loaded with an offset, so that unsigned-by-signed dot products take
// the sums.
#pragma once

#include "kernels/cpu/strands.h"

namespace upg::kernels::UPG_ISA {
namespace {

// Indices for look_up(): code[2 * g + h].
struct Codes {
  Ints code[kVectors];
};

template <int kBits>
struct Layout;

// Two codes share a nibble: the palettes are doubled (see Palettes), and one index serves both h.
template <>
struct Layout<2> {
  static constexpr int kVectorsStored = 2;
  static inline __attribute__((always_inline)) Codes unpack(const uint8_t* at) {
    Codes codes;
    for (int j = 0; j < 2; ++j) {
      const Ints v = load_bytes(at + 64 * j);
      const Ints low = low_nibbles(v), high = high_nibbles(v);
      codes.code[4 * j] = codes.code[4 * j + 1] = low;
      codes.code[4 * j + 2] = codes.code[4 * j + 3] = high;
    }
    return codes;
  }
};

// Masking bits 3 and 7 once makes both w and w >> 4 legal indices; the masked bits of the three
// vectors together are a fourth of the same form.
template <>
struct Layout<3> {
  static constexpr int kVectorsStored = 3;
  static inline __attribute__((always_inline)) Codes unpack(const uint8_t* at) {
    const Ints low_bits = splat_bytes(0x77);
    const Ints high_bits = splat_bytes(0x88);
    const Ints v0 = load_bytes(at), v1 = load_bytes(at + 64), v2 = load_bytes(at + 128);
    const Ints fourth = or_bits(
        or_bits(shift_right<3>(and_bits(v0, high_bits)), shift_right<2>(and_bits(v1, high_bits))),
        shift_right<1>(and_bits(v2, high_bits)));
    const Ints words[4] = {and_bits(v0, low_bits), and_bits(v1, low_bits), and_bits(v2, low_bits),
                           fourth};
    Codes codes;
    for (int g = 0; g < 4; ++g) {
      codes.code[2 * g] = low_indices(words[g]);
      codes.code[2 * g + 1] = high_indices(words[g]);
    }
    return codes;
  }
};

template <>
struct Layout<4> {
  static constexpr int kVectorsStored = 4;
  static inline __attribute__((always_inline)) Codes unpack(const uint8_t* at) {
    Codes codes;
    for (int g = 0; g < 4; ++g) {
      const Ints v = load_bytes(at + 64 * g);
      codes.code[2 * g] = low_nibbles(v);
      codes.code[2 * g + 1] = high_nibbles(v);
    }
    return codes;
  }
};

// A palette as look-up tables for h = 0 and h = 1, `offset` added to every level.
struct Palette {
  Ints table[2];
};

template <int kBits>
Palette load_palette(const int8_t* levels, int offset) {
  Palette palette;
  for (int h = 0; h < 2; ++h) {
    uint8_t bytes[16];
    for (int i = 0; i < 16; ++i) {
      const int code = kBits == 2 ? (h == 0 ? i & 3 : i >> 2) : i & ((1 << kBits) - 1);
      bytes[i] = static_cast<uint8_t>(levels[code] + offset);
    }
    palette.table[h] = load_for_all_rows(bytes);
  }
  return palette;
}

template <int kBits, bool kTwo>
struct PathSource {
  using Levels = SmallLevels;
  static constexpr int kBlockBytes = 64 * Layout<kBits>::kVectorsStored;

  explicit PathSource(const codec::PathMatrix& w)
      : a(load_palette<kBits>(reinterpret_cast<const int8_t*>(&w.level_a), Levels::kOffset)),
        b(load_palette<kBits>(reinterpret_cast<const int8_t*>(&w.level_b), 0)) {}

  inline __attribute__((always_inline)) void load(const uint8_t* at, Ints* w,
                                                  int64_t ahead = kPrefetchBytes) const {
    for (int i = 0; i < kBlockBytes; i += 64) {
      __builtin_prefetch(at + i + ahead);
    }
    const Codes codes = Layout<kBits>::unpack(at);
    for (int i = 0; i < kVectors; ++i) w[i] = look_up(a.table[i % 2], codes.code[i]);
    if constexpr (kTwo) {
      for (int i = 2; i < kVectors; ++i) {
        w[i] = add_bytes(w[i], look_up(b.table[i % 2], codes.code[i - 2]));
      }
      for (int h = 0; h < 2; ++h) {
        const Ints before = look_up(b.table[h], codes.code[6 + h]);
        w[h] = add_bytes(w[h], rotate_words(before));
      }
    }
  }

  Palette a;
  Palette b;
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
