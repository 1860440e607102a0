// What lies between the products of a layer for several tokens, on Hopper: two or three operations
// in one kernel, each beginning before the one ahead has ended.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/input_norm.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/overlap.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kNormThreads = 1024;  // of a row: few rows, long ones
constexpr int kNormWarps = kNormThreads / kWarp;

__device__ __forceinline__ float4 load_columns(const float* x, int64_t column, int64_t cols) {
  if (column >= cols) return {0, 0, 0, 0};
  return *reinterpret_cast<const float4*>(x + column);
}

// A block of a row, rotated where the form says so, as integers in tiles.
__device__ __forceinline__ void store(const TileForm& form, int64_t row, int64_t block,
                                      float (&x)[4], int lane) {
  if (form.signs != nullptr) {
    rotate_block(x, lane_signs(form.signs + block * (kColumns / 8), lane), lane);
  }
  store_tile(quantise_block(x, lane), form.tiled_rows, row, block, lane, form.q, form.scale);
}

// A block a row.
__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(const float* x, const float* weight, float epsilon, int64_t cols, TileForm form) {
  __shared__ float sums[kNormWarps];
  static_assert(kNormWarps == kWarp);
  let_next_begin();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t row = blockIdx.x;
  x += row * cols;
  float squares = 0;
  for (int64_t block = warp; block * kColumns < cols; block += kNormWarps) {
    const float4 v = load_columns(x, block * kColumns + 4 * lane, cols);
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  }
  squares = warp_sum(squares);
  if (lane == 0) sums[warp] = squares;
  __syncthreads();
  const float mean = __fdiv_rn(warp_sum(sums[lane]), static_cast<float>(cols));
  const float factor = __fdiv_rn(1.0f, __fsqrt_rn(mean + epsilon));
  for (int64_t block = warp; block * kColumns < cols; block += kNormWarps) {
    const int64_t column = block * kColumns + 4 * lane;
    const float4 v = load_columns(x, column, cols);
    const float4 w = load_columns(weight, column, cols);
    float values[4] = {v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z,
                       v.w * factor * w.w};
    store(form, row, block, values, lane);
  }
}

// A warp a row and block.
__global__ void __launch_bounds__(kThreads)
    plain_kernel(const float* x, int64_t rows, int64_t cols, int64_t blocks, TileForm form) {
  let_next_begin();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (index >= rows * blocks) return;
  const int64_t row = index / blocks;
  const int64_t block = index % blocks;
  const float4 v = load_columns(x + row * cols, block * kColumns + 4 * lane, cols);
  float values[4] = {v.x, v.y, v.z, v.w};
  store(form, row, block, values, lane);
}

// Likewise, times weight.
__global__ void __launch_bounds__(kThreads)
    scaled_kernel(const float* x, const float* weight, int64_t rows, int64_t cols, int64_t blocks,
                  TileForm form, float* squares) {
  let_next_begin();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (index >= rows * blocks) return;
  const int64_t row = index / blocks;
  const int64_t block = index % blocks;
  const float4 v = load_columns(x + row * cols, block * kColumns + 4 * lane, cols);
  const float4 w = load_columns(weight, block * kColumns + 4 * lane, cols);
  const float sum = warp_sum(fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, v.w * v.w))));
  if (lane == 0) squares[index] = sum;
  float values[4] = {v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w};
  store(form, row, block, values, lane);
}

__device__ __forceinline__ float gated(float gate, float up) {
  return __fdiv_rn(gate, 1.0f + expf(-gate)) * up;
}

// Likewise. gate_up: [rows, 2 cols]
__global__ void __launch_bounds__(kThreads)
    gated_kernel(const float* gate_up, int64_t rows, int64_t cols, int64_t blocks, InputNorm norm,
                 TileForm form) {
  let_next_begin();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (index >= rows * blocks) return;
  const int64_t row = index / blocks;
  const int64_t block = index % blocks;
  const int64_t column = block * kColumns + 4 * lane;
  const float4 gate = load_columns(gate_up + row * 2 * cols, column, cols);
  const float4 up = load_columns(gate_up + row * 2 * cols + cols, column, cols);
  const float n = norm_of(norm, row, lane);
  float values[4] = {gated(gate.x * n, up.x * n), gated(gate.y * n, up.y * n),
                     gated(gate.z * n, up.z * n), gated(gate.w * n, up.w * n)};
  store(form, row, block, values, lane);
}

// A warp a head: q heads are turned, k heads turned and stored, v heads stored.
__global__ void __launch_bounds__(kThreads)
    rope_store_kernel(float* qkv, AttentionShape shape, const float* q_norm, const float* k_norm,
                      float epsilon, KvLayer cache, StepView step) {
  let_next_begin();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int h = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / kWarp);
  const int all = shape.heads + 2 * shape.kv_heads;
  if (h >= all) return;
  const int64_t token = blockIdx.y;
  float* head = qkv + (token * all + h) * shape.head_dim;
  const bool is_v = h >= shape.heads + shape.kv_heads;
  if (!is_v) {
    const float* norm = h < shape.heads ? q_norm : k_norm;
    if (norm != nullptr) norm_head(head, norm, epsilon, shape.head_dim, lane);
    turn_head(head, step.cos, step.sin, token, shape.rotary_dims / 2, lane);
  }
  if (h < shape.heads) return;
  const int kv_head = h - shape.heads - (is_v ? shape.kv_heads : 0);
  uint8_t* row = cache_row(cache, is_v, shape, step.pages + step.page_base[token], kv_head,
                           step.positions[token]);
  store_row(row, is_v ? cache.v_type : cache.k_type, shape.head_dim, lane,
            [&](int i) { return head[i]; });
}

unsigned warps_grid(int64_t warps) { return static_cast<unsigned>((warps + kWarps - 1) / kWarps); }

}  // namespace

void norm_to_tiles(const float* x, const float* weight, float epsilon, int64_t rows, int64_t cols,
                   const TileForm& form, cudaStream_t stream) {
  launch_overlapped(norm_kernel, dim3(static_cast<unsigned>(rows)), kNormThreads, 0, stream, x,
                    weight, epsilon, cols, form);
}

void plain_to_tiles(const float* x, int64_t rows, int64_t cols, const TileForm& form,
                    cudaStream_t stream) {
  const int64_t blocks = codec::blocks_of(cols);
  launch_overlapped(plain_kernel, dim3(warps_grid(rows * blocks)), kThreads, 0, stream, x, rows,
                    cols, blocks, form);
}

void scaled_to_tiles(const float* x, const float* weight, int64_t rows, int64_t cols,
                     const TileForm& form, float* squares, cudaStream_t stream) {
  const int64_t blocks = codec::blocks_of(cols);
  launch_overlapped(scaled_kernel, dim3(warps_grid(rows * blocks)), kThreads, 0, stream, x, weight,
                    rows, cols, blocks, form, squares);
}

void gated_to_tiles(const float* gate_up, int64_t rows, int64_t cols, const TileForm& form,
                    cudaStream_t stream) {
  normed_gated_to_tiles(gate_up, rows, cols, {}, form, stream);
}

void normed_gated_to_tiles(const float* gate_up, int64_t rows, int64_t cols, const InputNorm& norm,
                           const TileForm& form, cudaStream_t stream) {
  const int64_t blocks = codec::blocks_of(cols);
  launch_overlapped(gated_kernel, dim3(warps_grid(rows * blocks)), kThreads, 0, stream, gate_up,
                    rows, cols, blocks, norm, form);
}

void rope_and_store(float* qkv, const AttentionShape& shape, const float* q_norm,
                    const float* k_norm, float epsilon, const KvLayer& cache, const StepView& step,
                    cudaStream_t stream) {
  const dim3 grid(warps_grid(shape.heads + 2 * shape.kv_heads), static_cast<unsigned>(step.tokens));
  launch_overlapped(rope_store_kernel, grid, kThreads, 0, stream, qkv, shape, q_norm, k_norm,
                    epsilon, cache, step);
}

}  // namespace upg::kernels::cuda
