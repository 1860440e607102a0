// Lists the SIMD tables. Compiled for the baseline instruction set: the questions about the machine
// must run everywhere.
#include "kernels/cpu/tables.h"

#include "kernels/cpu/supported.h"

namespace upg::kernels {

namespace avx2 {
extern const CpuOps table;
}
namespace avx512 {
extern const CpuOps table;
}
namespace avx512vnni {
extern const CpuOps table;
}

// F16C came with AVX (2011-2012), two generations before AVX2; compilers cannot ask for it by name.
bool has_avx2() noexcept {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2");
}

bool has_avx512() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx512vnni() noexcept { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

std::span<const CpuOps* const> cpu_tables() {
  static constexpr const CpuOps* kTables[] = {&avx512vnni::table, &avx512::table, &avx2::table};
  return kTables;
}

}  // namespace upg::kernels
