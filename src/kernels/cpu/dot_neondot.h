// Integer dot products by sdot: signed times signed bytes, four at a time, added to 32 bits.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kLevelOffset = 0;  // levels are signed as they are
constexpr int kTileInputs = 12;  // whose sums with two vectors of rows stay in registers

static inline Ints dot_signed(Ints sums, Ints weights, Ints activations) {
  return vreinterpretq_u8_s32(vdotq_s32(vreinterpretq_s32_u8(sums), vreinterpretq_s8_u8(weights),
                                        vreinterpretq_s8_u8(activations)));
}

// Levels of the path and sparse codecs, -63 ... 63, stored as they are.
struct SmallLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_signed(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { sums = dot_signed(sums, w, x); }
};

// Levels of the int8 codec, -128 ... 127.
struct ByteLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints from_codes(Ints codes) { return codes; }
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_signed(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { sums = dot_signed(sums, w, x); }
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
