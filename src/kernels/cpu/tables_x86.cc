// Lists the SIMD tables. Compiled for the baseline instruction set: the questions about the machine
// must run everywhere.
#include <cpuid.h>

#include "kernels/cpu/supported.h"
#include "kernels/cpu/tables.h"

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
namespace avx512vbmi {
extern const CpuOps table;
}
namespace avxvnni {
extern const CpuOps table;
}
namespace avx512vnni256 {
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
bool has_avx512vnni256() noexcept { return has_avx512vnni(); }

bool has_avx512vbmi() noexcept {
  return has_avx512vnni() && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("gfni");
}

// Not every compiler knows its name.
bool has_avxvnni() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

std::span<const CpuOps* const> cpu_tables() {
  static constexpr const CpuOps* kTables[] = {&avx512vbmi::table,    &avx512vnni::table,
                                              &avx512vnni256::table, &avx512::table,
                                              &avxvnni::table,       &avx2::table};
  return kTables;
}

}  // namespace upg::kernels
