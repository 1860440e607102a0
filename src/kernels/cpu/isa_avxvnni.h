// What the kernels' sources see when they are compiled for avxvnni.
#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace upg::kernels::UPG_ISA {

constexpr int kTileInputs = 6;  // whose sums with two vectors of rows stay in registers

static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm256_dpbusd_avx_epi32(sums, weights, activations);
}
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(weights), "x"(activations));
}

}  // namespace upg::kernels::UPG_ISA

// These are written in the words above.
#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avxvnni";
constexpr char kNeeds[] = "AVX2, FMA, F16C, BMI2, AVX-VNNI";
constexpr auto kSupported = has_avxvnni;

}  // namespace upg::kernels::UPG_ISA
