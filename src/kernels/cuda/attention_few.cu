// attention_few.cuh as a kernel of its own: one block on a multiprocessor, whose teams have an item
// each.
#include "kernels/cuda/attention_few.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/overlap.cuh"

namespace upg::kernels::cuda {
namespace {

static_assert(kMostAttentionItems * kTileHeads * kPartFloats <= 2 * kMostPartFloats);

template <class Tiles, int kSlots, int kSets>
__global__ void __launch_bounds__(kAttentionTeams* kTeamThreads, 1)
    attend_few_kernel(const __grid_constant__ FewAttention a) {
  extern __shared__ __align__(128) uint8_t base[];
  using Item = ItemAttention<Tiles, kSlots, kSets>;
  let_next_begin();
  const int team = static_cast<int>(threadIdx.x) / kTeamThreads;
  const int index = static_cast<int>(blockIdx.x) + team * a.plan.blocks;
  if (index >= a.plan.items) return;
  Item item(a, index, {static_cast<int>(threadIdx.x) % kTeamThreads, team},
            reinterpret_cast<typename Item::Memory*>(base)[team]);
  wait_for_earlier();
  item.run();
}

template <class Tiles, int kSlots, int kSets>
void launch(const FewAttention& a, cudaStream_t stream) {
  const auto kernel = attend_few_kernel<Tiles, kSlots, kSets>;
  constexpr int kBytes = kAttentionTeams * sizeof(TeamMemory<Tiles, kSlots>);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  launch_overlapped(kernel, dim3(static_cast<unsigned>(a.plan.blocks)),
                    kAttentionTeams * kTeamThreads, kBytes, stream, a);
}

template <class Tiles, int kSlots>
void launch_heads(const FewAttention& a, cudaStream_t stream) {
  if (a.shape.heads / a.shape.kv_heads <= kSetHeads) {
    launch<Tiles, kSlots, 1>(a, stream);
  } else {
    launch<Tiles, kSlots, 2>(a, stream);
  }
}

}  // namespace

bool has_few_attention(const AttentionShape& shape, const KvLayer& cache) {
  const int heads = shape.heads / shape.kv_heads;
  return cache.k_type == cache.v_type && cache.k_type != KvType::kF32 &&
         has_fast_attention(shape.head_dim) && shape.rotary_dims <= kFastHeadDim &&
         heads <= kTileHeads && heads * shape.head_dim % kColumns == 0;
}

void attend_to_tiles(const FewAttention& a, cudaStream_t stream) {
  if (a.cache.k_type == KvType::kQ8) return launch_heads<Q8Tiles, 3>(a, stream);
  launch_heads<F16Tiles, 2>(a, stream);
}

}  // namespace upg::kernels::cuda
