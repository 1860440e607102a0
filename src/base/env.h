// The one place that reads the environment (docs/env.md lists the variables).
#pragma once

#include <optional>
#include <string>

namespace upg::base {

std::optional<std::string> environment(const char* name);

}  // namespace upg::base
