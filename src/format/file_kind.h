// Names the kind of a file that is not what it should be, for messages.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace upg::format {

// What the first bytes look like: "a Git LFS pointer (run git lfs pull)"; empty when nothing known.
std::string_view known_kind(std::span<const std::byte> bytes) noexcept;

}  // namespace upg::format
