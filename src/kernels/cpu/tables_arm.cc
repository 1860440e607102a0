// Lists the tables of a 64-bit ARM build. Compiled for the baseline instruction set: the questions
// about the machine must run everywhere.
#include <sys/auxv.h>

#include "kernels/cpu/supported.h"
#include "kernels/cpu/tables.h"

namespace upg::kernels {

namespace neon {
extern const CpuOps table;
}
namespace neondot {
extern const CpuOps table;
}

bool has_neon() noexcept { return true; }  // part of the architecture

bool has_neondot() noexcept {
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP, which older headers lack
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
}

std::span<const CpuOps* const> cpu_tables() {
  static constexpr const CpuOps* kTables[] = {&neondot::table, &neon::table};
  return kTables;
}

}  // namespace upg::kernels
