// What the kernels' sources see when they are compiled for avx2.
#pragma once

#include "kernels/cpu/simd_avx2.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_avx2.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx2";
constexpr char kNeeds[] = "AVX2, FMA, F16C, BMI2";
constexpr auto kSupported = has_avx2;

}  // namespace upg::kernels::UPG_ISA
