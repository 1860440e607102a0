// A whole token in one launch (token_program.h says how). The order of every sum is fixed by the
// shape and the number of multiprocessors: the same bits on every run.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/token.h"
#include "kernels/cuda/token_attention.cuh"
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

// Into shared memory, by one warp; visible after sync(). Also into the L2 cache: the norm weights,
// which are everybody's, some lines a block.
__device__ __forceinline__ void describe(const TokenArguments& a, const Memory& m, int index) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= kWarp || index >= a.phase_count) return;
  TokenPhase& phase = m.shared->phases[index % kPhaseEntries];
  const auto* from = reinterpret_cast<const uint4*>(a.phases + index);
  constexpr int kVectors = sizeof(TokenPhase) / 16;
  static_assert(kVectors <= kWarp);
  if (lane < kVectors) reinterpret_cast<uint4*>(&phase)[lane] = from[lane];
  __syncwarp();
  if (lane == 0) {
    const Share share =
        share_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    phase.begin = share.begin;
    phase.end = share.end;
  }
  constexpr int kLineFloats = 32;
  const int at = (static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) * lane) * kLineFloats;
  if (phase.input == TokenInput::kNormed && at < phase.cols) prefetch_l2(phase.norm + at);
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
  GridBarrier grid(a.barrier, a.barrier_base);
  describe(a, m, 0);
  sync();
  Asking asking;
  asking.begin(m, m.shared->phases[0]);
  asking.fill();
  if (a.first_phase_is_embedding != 0) {
    embed(a, grid);
  } else {
    grid.arrive();  // so that every phase has one to wait for
  }
  for (int index = 0; index < a.phase_count; ++index) {
    const TokenPhase& phase = m.shared->phases[index % kPhaseEntries];
    const bool last = index + 1 == a.phase_count;
    const TokenPhase* next = last ? nullptr : &m.shared->phases[(index + 1) % kPhaseEntries];
    describe(a, m, index + 1);
    product(a, m, grid, phase, next, asking);
    if (phase.k != nullptr) attend<kType>(a, m, grid, phase);
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
