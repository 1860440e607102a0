// The token kernel's launch.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

// grid: one block a multiprocessor; all must run at once.
cudaError_t launch_token(const TokenArguments& arguments, KvType type, int grid,
                         cudaStream_t stream);

// Shared memory that every program needs.
int token_fixed_shared_bytes() noexcept;

}  // namespace upg::kernels::cuda
