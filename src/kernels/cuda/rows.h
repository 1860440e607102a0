// The rows that this folder adds to the table of backends: one in a build with the CUDA toolkit,
// none without (none.cc).
#pragma once

#include <span>

#include "kernels/backend.h"

namespace upg::kernels::cuda {

std::span<const BackendRow> rows() noexcept;

}  // namespace upg::kernels::cuda
