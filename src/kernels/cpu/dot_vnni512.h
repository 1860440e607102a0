// vpdpbusd on 512-bit registers, in the words of simd_avx512.h: what dot_vnni.h is made of.
#pragma once

namespace upg::kernels::UPG_ISA {

constexpr int kTileInputs = 12;  // whose sums with two vectors of rows stay in registers

static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm512_dpbusd_epi32(sums, weights, activations);
}
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(activations));
}
// The same with four activations in memory for every lane.
static inline void add_dot_of_word(Ints& sums, Ints weights, const int8_t* activations) {
  using Word = int32_t __attribute__((may_alias));
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sums)
      : "v"(weights), "m"(*reinterpret_cast<const Word*>(activations)));
}

}  // namespace upg::kernels::UPG_ISA
