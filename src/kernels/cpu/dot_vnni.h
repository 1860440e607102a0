// Integer dot products by vpdpbusd: unsigned times signed bytes, four at a time, added to 32 bits.
// The instruction has a form for every register and encoding, which isa_<set>.h names:
// dot_unsigned() and, for the same in place by force, add_dot_unsigned(): where many sums are live,
// g++ 12 copies those of the intrinsic from register to register, which halves the speed.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kLevelOffset = 128;  // makes every level an unsigned byte

// Levels of the path and sparse codecs, -63 ... 63, stored plus kOffset. Whoever sums starts with
// -kOffset * sum(activations).
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
