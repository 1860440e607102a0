#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace upg::base {

void check_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "upg: internal error: %s is false at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace upg::base
