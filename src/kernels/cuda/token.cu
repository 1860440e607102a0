// A whole token in one launch (token_program.h says how). The order of every sum is fixed by the
// shape and the number of multiprocessors: the same bits on every run.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/token.h"
#include "kernels/cuda/token_attention.cuh"
#include "kernels/cuda/token_producer.cuh"
#include "kernels/cuda/token_product.cuh"

namespace upg::kernels::cuda {
namespace {

__device__ __forceinline__ void embed(const TokenArguments& a, GridBarrier& grid) {
  const int64_t cols = a.embedding.cols;
  for (int64_t c = static_cast<int64_t>(blockIdx.x) * kComputing + threadIdx.x; c < cols;
       c += static_cast<int64_t>(gridDim.x) * kComputing) {
    a.x[c] = weight_at(a.embedding, a.id, c);
  }
  sync();
  grid.arrive();
}

template <KvType kType>
__device__ __forceinline__ void compute(const TokenArguments& a, const Memory& m) {
  GridBarrier grid(a.barrier, a.barrier_base);
  RingCursor cursor = {0, 0};
  if (a.first_phase_is_embedding != 0) {
    embed(a, grid);
  } else {
    grid.arrive();  // so that every phase has one to wait for
  }
  for (int index = 0; index < a.phase_count; ++index) {
    const int entry = index % kPhaseEntries;
    wait_parity(&m.shared->phase_full[entry], index / kPhaseEntries & 1);
    const TokenPhase& phase = m.shared->phases[entry];
    product(a, m, grid, cursor, phase);
    if (phase.k != nullptr) attend<kType>(a, m, grid, phase);
    __syncwarp();
    if (threadIdx.x % kWarp == 0) arrive(&m.shared->phase_empty[entry]);
  }
}

template <KvType kType>
__global__ void __launch_bounds__(kTokenThreads, 1)
    token_kernel(const __grid_constant__ TokenArguments a) {
  extern __shared__ __align__(128) uint8_t base[];
  const Memory m = memory_of(base, a);
  if (threadIdx.x == 0) {
    for (int i = 0; i < a.slots; ++i) {
      init_barrier(&m.shared->full[i], 1);
      init_barrier(&m.shared->empty[i], 1);
    }
    for (int i = 0; i < kPhaseEntries; ++i) {
      init_barrier(&m.shared->phase_full[i], 1);
      init_barrier(&m.shared->phase_empty[i], kTokenWarps);
    }
    fence_barriers();
  }
  if (threadIdx.x < kMaxHalfRotary) {
    m.shared->cos[threadIdx.x] = a.cos[threadIdx.x];
    m.shared->sin[threadIdx.x] = a.sin[threadIdx.x];
  }
  __syncthreads();
  if (threadIdx.x / kWarp == kTokenWarps) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    // Of tiles before the first nobody asks whether they are there.
    const RingCursor flight = {a.slots - a.in_flight, 1};
    Producer{a, m, {0, 0}, flight, 0, streaming_policy(), lane}.run();
  } else {
    compute<kType>(a, m);
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

int token_fixed_shared_bytes() noexcept {
  return static_cast<int>((sizeof(Shared) + 127) / 128 * 128);
}

cudaError_t launch_token(const TokenArguments& a, KvType type, int grid, cudaStream_t stream) {
  const int shared =
      token_fixed_shared_bytes() + a.partial_bytes + a.act_bytes + a.slots * kSlotBytes;
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
