// A build for a processor family without SIMD kernels: the registry falls back to reference.
#include "kernels/cpu/tables.h"

namespace upg::kernels {

std::span<const CpuOps* const> cpu_tables() { return {}; }

}  // namespace upg::kernels
