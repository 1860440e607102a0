// Integer dot products by widening products: signed times signed, two added in 16 bits, pairs of
// those added to 32. Both levels stay exact: 2 * 128 * 127 < 32768.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kLevelOffset = 0;  // levels are signed as they are
constexpr int kTileInputs = 8;   // whose sums with two vectors of rows stay in registers

// Which lane takes which products is left open: whoever calls this adds up the lanes of a row.
static inline Ints dot_signed(Ints sums, Ints weights, Ints activations) {
  const int8x16_t w = vreinterpretq_s8_u8(weights);
  const int8x16_t x = vreinterpretq_s8_u8(activations);
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
  const int16x8_t pairs = vmlal_high_s8(low, w, x);
  return vreinterpretq_u8_s32(vpadalq_s16(vreinterpretq_s32_u8(sums), pairs));
}

// The same with the products of bytes 4 i ... 4 i + 3 in lane i, where each lane has a meaning.
static inline void add_dot_signed(Ints& sums, Ints weights, Ints activations) {
  const int8x16_t w = vreinterpretq_s8_u8(weights);
  const int8x16_t x = vreinterpretq_s8_u8(activations);
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
  const int16x8_t pairs = vpaddq_s16(low, vmull_high_s8(w, x));
  sums = vreinterpretq_u8_s32(vpadalq_s16(vreinterpretq_s32_u8(sums), pairs));
}

// Levels of the path and sparse codecs, -63 ... 63, stored as they are.
struct SmallLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_signed(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { add_dot_signed(sums, w, x); }
};

// Levels of the int8 codec, -128 ... 127; activations are -127 ... 127.
struct ByteLevels {
  static constexpr int kOffset = kLevelOffset;
  static Ints from_codes(Ints codes) { return codes; }
  static Ints dot(Ints sums, Ints w, Ints x) { return dot_signed(sums, w, x); }
  static void add_dot(Ints& sums, Ints w, Ints x) { add_dot_signed(sums, w, x); }
};

}  // namespace
}  // namespace upg::kernels::UPG_ISA
