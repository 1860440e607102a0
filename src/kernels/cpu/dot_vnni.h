// Integer dot products by vpdpbusd: unsigned times signed bytes, four at a time, added to 32 bits.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kLevelOffset = 128;  // makes every level an unsigned byte
constexpr int kTileInputs = 12;    // whose sums with two vectors of rows stay in registers

// Weights as unsigned bytes: level + kOffset. Whoever sums starts with -kOffset * sum(activations).
static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm512_dpbusd_epi32(sums, weights, activations);
}
// The same in place by force: where many sums are live, g++ 12 copies those of the intrinsic from
// register to register, which halves the speed.
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(activations));
}

// Levels of the path and sparse codecs, -63 ... 63.
struct SmallLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_unsigned(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { add_dot_unsigned(sums, w, x); }
};

// Levels of the int8 codec, -128 ... 127.
struct ByteLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints from_codes(Ints codes) { return xor_bits(codes, splat_bytes(0x80)); }
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_unsigned(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { add_dot_unsigned(sums, w, x); }
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
