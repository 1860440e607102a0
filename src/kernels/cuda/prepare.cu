// Inputs of products: one warp a row and block.
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 8;

__global__ void prepare_kernel(const float* x, int64_t rows, int64_t cols, int64_t blocks,
                               PreparedForm form) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (index >= rows * blocks) return;
  const int64_t row = index / blocks;
  const int64_t block = index % blocks;
  const int64_t column = block * kColumns + 4 * lane;
  float values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[i] = column + i < cols ? x[row * cols + column + i] : 0.0f;
  }
  if (form.signs != nullptr) {
    rotate_block(values, lane_signs(form.signs + block * (kColumns / 8), lane), lane);
  }
  if (form.x != nullptr) {
    const float4 all = {values[0], values[1], values[2], values[3]};
    reinterpret_cast<float4*>(form.x)[index * kWarp + lane] = all;
    return;
  }
  const QuantisedLane q = quantise_block(values, lane);
  if (form.tiled_rows != 0) {
    store_tile(q, form.tiled_rows, row, block, lane, form.q, form.tile_scale);
    return;
  }
  reinterpret_cast<uint32_t*>(form.q)[index * kWarp + permuted_word(lane)] = q.word;
  if (lane == 0) {
    form.scale[index] = q.scale;
    form.sum[index] = q.sum;
  }
}

}  // namespace

void prepare(const float* x, int64_t rows, int64_t cols, const PreparedForm& form,
             cudaStream_t stream) {
  const int64_t blocks = codec::blocks_of(cols);
  const auto grid = static_cast<unsigned>((rows * blocks + kWarps - 1) / kWarps);
  prepare_kernel<<<grid, kWarps * kWarp, 0, stream>>>(x, rows, cols, blocks, form);
}

}  // namespace upg::kernels::cuda
