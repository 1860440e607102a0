// attention_few.cuh as a kernel of its own: an item a block.
#include "kernels/cuda/attention_few.cuh"
#include "kernels/cuda/overlap.cuh"

namespace upg::kernels::cuda {
namespace {

template <class Tiles, int kSlots, int kBlocks>
__global__ void __launch_bounds__(kTeamThreads, kBlocks)
    attend_few_kernel(const __grid_constant__ FewAttention a) {
  extern __shared__ __align__(128) uint8_t base[];
  using Item = ItemAttention<Tiles, kSlots>;
  let_next_begin();
  Item item(a, static_cast<int>(blockIdx.x), {static_cast<int>(threadIdx.x), 0},
            *reinterpret_cast<typename Item::Memory*>(base));
  wait_for_earlier();
  item.run();
}

template <class Tiles, int kSlots, int kBlocks>
void launch(const FewAttention& a, int items, cudaStream_t stream) {
  const auto kernel = attend_few_kernel<Tiles, kSlots, kBlocks>;
  constexpr int kBytes = sizeof(TeamMemory<Tiles, kSlots>);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  launch_overlapped(kernel, dim3(static_cast<unsigned>(items)), kTeamThreads, kBytes, stream, a);
}

}  // namespace

bool has_few_attention(const AttentionShape& shape, const KvLayer& cache) {
  const int heads = shape.heads / shape.kv_heads;
  return cache.k_type == KvType::kF16 && cache.v_type == KvType::kF16 &&
         has_fast_attention(shape.head_dim) && shape.rotary_dims <= kFastHeadDim &&
         heads <= kTileHeads && heads * shape.head_dim % kColumns == 0;
}

void attend_to_tiles(const FewAttention& a, int items, cudaStream_t stream) {
  launch<F16Tiles, 2, 3>(a, items, stream);
}

}  // namespace upg::kernels::cuda
