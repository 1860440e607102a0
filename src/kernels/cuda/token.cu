// A whole token in one launch (token_program.h says how). The order of every sum is fixed by the
// shape and the number of multiprocessors: the same bits on every run.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/token.h"
#include "kernels/cuda/token_product.cuh"

namespace upg::kernels::cuda {
namespace {

// x for the first phase, from the rows' own threads (token_product.cuh).
__device__ __forceinline__ void begin_x(const TokenArguments& a) {
  const auto rows = static_cast<int>(a.embedding.cols);
  const Span share =
      span_of((rows + 3) / 4, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  const int end = min(4 * share.end, rows);
  for (int row = 4 * share.begin + static_cast<int>(threadIdx.x); row < end; row += kComputing) {
    const bool look_up = a.first_phase_is_embedding != 0;
    const float x = look_up ? weight_at(a.embedding, a.id, row) : a.x[row];
    publish(a.marked + row, x, a.mark);
    if (look_up) a.x[row] = x;
  }
}

template <KvType kType>
__global__ void __launch_bounds__(kTokenThreads, 1)
    token_kernel(const __grid_constant__ TokenArguments a) {
  extern __shared__ __align__(128) uint8_t base[];
  const Memory m = memory_of(base, a);
  if (threadIdx.x < kMaxHalfRotary) {
    m.shared->cos[threadIdx.x] = a.cos[threadIdx.x];
    m.shared->sin[threadIdx.x] = a.sin[threadIdx.x];
  }
  if (threadIdx.x < kZeroBytes) m.shared->zeros[threadIdx.x] = 0;
  if (threadIdx.x == 0) m.shared->unit = find_unit(a);
  begin_x(a);
  if (warp_index() == kLastWarp) describe(a, m, 0);
  sync();
  go_to_phase(m, 0);
#pragma unroll 1
  while (phase_index(m) < a.phase_count) {
    const TokenPhase& phase = m.shared->phases[phase_index(m) % kPhaseEntries];
    if (phase.k != nullptr) prefetch_attended(a, m, phase);
    product(a, m, phase);
    if (phase.k != nullptr) {
      sync();  // attention takes the memory of the sums
      attend<kType>(a, m, phase, a.mark + static_cast<uint32_t>(phase_index(m)) + 1);
    }
    go_to_phase(m, phase_index(m) + 1);
  }
}

template <KvType kType>
cudaError_t launch(const TokenArguments& a, int grid, int shared_bytes, cudaStream_t stream) {
  const auto kernel = token_kernel<kType>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (status != cudaSuccess) return status;
  void* arguments[] = {const_cast<TokenArguments*>(&a)};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel),
                                     dim3(static_cast<unsigned>(grid)), dim3(kTokenThreads),
                                     arguments, static_cast<size_t>(shared_bytes), stream);
}

}  // namespace

int token_fixed_shared_bytes() noexcept { return kSharedBytes + kSlotsBytes; }

cudaError_t launch_token(const TokenArguments& a, KvType type, int grid, cudaStream_t stream) {
  const int shared = token_fixed_shared_bytes() + a.partial_bytes + a.act_bytes;
  switch (type) {
    case KvType::kF32:
      return launch<KvType::kF32>(a, grid, shared, stream);
    case KvType::kF16:
      return launch<KvType::kF16>(a, grid, shared, stream);
    case KvType::kQ8:
      return launch<KvType::kQ8>(a, grid, shared, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace upg::kernels::cuda
