#include "base/env.h"

#include <cstdlib>

namespace upg::base {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace upg::base
