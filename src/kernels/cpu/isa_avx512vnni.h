// What the kernels' sources see when they are compiled for avx512vnni.
#pragma once

#include "kernels/cpu/simd_avx512.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_vnni512.h"
// What follows is written in the words of both.
#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_turned.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx512vnni";
constexpr char kNeeds[] = "AVX-512 F, BW, VL, DQ, VNNI";
constexpr auto kSupported = has_avx512vnni;

}  // namespace upg::kernels::UPG_ISA
