// What the kernels' sources see when they are compiled for neon.
#pragma once

#include "kernels/cpu/simd_neon.h"
// The dot products are written in the words of the vector layer above.
#include "kernels/cpu/dot_neon.h"
#include "kernels/cpu/expand_table.h"
#include "kernels/cpu/few_strands.h"
#include "kernels/cpu/path_shuffle.h"
#include "kernels/cpu/supported.h"

namespace upg::kernels::UPG_ISA {

constexpr char kName[] = "neon";
constexpr char kNeeds[] = "NEON";
constexpr auto kSupported = has_neon;

}  // namespace upg::kernels::UPG_ISA
