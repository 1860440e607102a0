// What the kernels' sources see when they are compiled for avx512.
#pragma once

#include "kernels/cpu/simd_avx512.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_avx512.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx512";
constexpr char kNeeds[] = "AVX-512 F, BW, VL, DQ";
constexpr auto kSupported = has_avx512;

}  // namespace upg::kernels::UPG_ISA
