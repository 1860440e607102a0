// The SIMD tables of this build: one per instruction set, all from the same sources.
#pragma once

#include <span>

#include "kernels/cpu_ops.h"

namespace upg::kernels {

// Fastest first; empty where the build's processor family has none. An entry may be unsupported on
// this machine: ask its supported() before calling anything else in it. Thread-safe.
std::span<const CpuOps* const> cpu_tables();

}  // namespace upg::kernels
