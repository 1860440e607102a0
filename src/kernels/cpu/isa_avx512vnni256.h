// What the kernels' sources see when they are compiled for avx512vnni256. The same
// sources as avxvnni but for the encoding of one instruction: for processors that clock down under
// 512-bit registers, and the way to run those sources where AVX-VNNI is missing.
#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace upg::kernels::UPG_ISA {

constexpr int kTileInputs = 6;  // whose sums with two vectors of rows stay in registers

static inline Ints dot_unsigned(Ints sums, Ints weights, Ints activations) {
  return _mm256_dpbusd_epi32(sums, weights, activations);
}
static inline void add_dot_unsigned(Ints& sums, Ints weights, Ints activations) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(activations));
}

}  // namespace upg::kernels::UPG_ISA

// These are written in the words above.
#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx512vnni256";
constexpr char kNeeds[] = "AVX-512 F, BW, VL, DQ, VNNI";
constexpr auto kSupported = has_avx512vnni256;

}  // namespace upg::kernels::UPG_ISA
