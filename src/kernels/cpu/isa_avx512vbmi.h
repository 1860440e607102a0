// What the kernels' sources see when they are compiled for avx512vbmi.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace upg::kernels::UPG_ISA {

constexpr int kTileInputs = 12;  // whose sums with two vectors of rows stay in registers

static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm512_dpbusd_epi32(sums, weights, activations);
}
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(activations));
}

}  // namespace upg::kernels::UPG_ISA

// These are written in the words above.
#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/expand_vbmi2.h"
#include "kernels/cpu/path_joint.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx512vbmi";
constexpr char kNeeds[] = "AVX-512 F, BW, VL, DQ, VNNI, VBMI, VBMI2, GFNI";
constexpr auto kSupported = has_avx512vbmi;

}  // namespace upg::kernels::UPG_ISA
