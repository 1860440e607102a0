// The version of the library and the command.
#pragma once

namespace upg {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace upg
