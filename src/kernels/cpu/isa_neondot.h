// What the kernels' sources see when they are compiled for neondot.
#pragma once

#include "kernels/cpu/simd_neon.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_neondot.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "neondot";
constexpr char kNeeds[] = "NEON with the int8 dot product (ASIMDDP)";
constexpr auto kSupported = has_neondot;

}  // namespace upg::kernels::UPG_ISA
