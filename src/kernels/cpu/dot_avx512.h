// Integer dot products by maddubs where there is no vpdpbusd. It adds two products in 16 bits with
// saturation; both forms below stay under it.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kLevelOffset = 63;  // of small levels; those of a byte are turned instead
constexpr int kTileInputs = 12;   // whose sums with two vectors of rows stay in registers

static inline Ints four_products(Ints weights, Ints activations) {
  const Ints pairs = _mm512_maddubs_epi16(weights, activations);
  return _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}
static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm512_add_epi32(sums, four_products(weights, activations));
}
// The same in place by force: where many sums are live, g++ 12 copies those of the intrinsic from
// register to register.
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("vpaddd %1, %0, %0" : "+v"(sums) : "v"(four_products(weights, activations)));
}

// Levels of the path and sparse codecs, -63 ... 63, stored plus 63: 2 * 126 * 128 < 32768.
struct SmallLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_unsigned(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { add_dot_unsigned(sums, w, x); }
};

// Levels of the int8 codec, -128 ... 127: the weight's sign moves to the activation, which never is
// -128: 2 * 128 * 127 < 32768.
struct ByteLevels {
  static constexpr int kOffset = 0;
  static Ints from_codes(Ints codes) { return codes; }
  static Ints dot(Ints sums, Ints w, Ints x) {
    return dot_unsigned(sums, _mm512_abs_epi8(w), turned(x, w));
  }
  static void add_dot(Ints& sums, Ints w, Ints x) {
    add_dot_unsigned(sums, _mm512_abs_epi8(w), turned(x, w));
  }
  static Ints turned(Ints x, Ints w) {
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), zero_ints(), x);
  }
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
