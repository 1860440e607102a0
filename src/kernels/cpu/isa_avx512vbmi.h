// What the kernels' sources see when they are compiled for avx512vbmi.
#pragma once

#include "kernels/cpu/simd_avx512.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_vnni512.h"
// What follows is written in the words of both.
#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/expand_vbmi2.h"
#include "kernels/cpu/few_turned.h"
#include "kernels/cpu/path_joint.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "avx512vbmi";
constexpr char kNeeds[] = "AVX-512 F, BW, VL, DQ, VNNI, VBMI, VBMI2, GFNI";
constexpr auto kSupported = has_avx512vbmi;

}  // namespace upg::kernels::UPG_ISA
