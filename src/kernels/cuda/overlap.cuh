// Kernels that begin before the one ahead of them in the stream has ended (programmatic dependent
// launch, compute capability 9.0 on): what needs nothing of it runs beside its last blocks.
#pragma once

#include <cuda_runtime.h>

namespace upg::kernels::cuda {

// Before the first access to what earlier kernels write or read.
__device__ __forceinline__ void wait_for_earlier() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
// The next kernel may begin; it waits for this one's results by itself.
__device__ __forceinline__ void let_next_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// The kernel calls wait_for_earlier() in every thread.
template <class... Parameters, class... Arguments>
void launch_overlapped(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes,
                       cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, arguments...);  // errors: cudaGetLastError()
}

}  // namespace upg::kernels::cuda
