// What happens to vectors between the products.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kNormThreads = 1024;  // of a row: few rows, long ones

// The sum over a block of kNormThreads threads, in every thread.
__device__ float block_sum(float x) {
  __shared__ float sums[kNormThreads / kWarp];
  static_assert(kNormThreads / kWarp == kWarp);
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = x;
  __syncthreads();
  return warp_sum(sums[threadIdx.x % kWarp]);
}

// A block a row; y may be x.
__global__ void rms_norm_kernel(float* y, const float* x, const float* weight, float epsilon,
                                int64_t cols) {
  x += blockIdx.x * cols;
  y += blockIdx.x * cols;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < cols; c += kNormThreads) sum = fmaf(x[c], x[c], sum);
  const float mean = __fdiv_rn(block_sum(sum), static_cast<float>(cols));
  const float factor = __fdiv_rn(1.0f, __fsqrt_rn(mean + epsilon));
  for (int64_t c = threadIdx.x; c < cols; c += kNormThreads) y[c] = x[c] * factor * weight[c];
}

__global__ void swiglu_kernel(float* y, const float* gate_up, int64_t n) {
  const int64_t row = blockIdx.y;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (j >= n) return;
  const float gate = gate_up[row * 2 * n + j];
  y[row * n + j] = __fdiv_rn(gate, 1.0f + expf(-gate)) * gate_up[row * 2 * n + n + j];
}

__global__ void gather_kernel(float* y, const float* x, const int32_t* indices, int64_t cols) {
  const int64_t from = indices[blockIdx.y];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c < cols) y[blockIdx.y * cols + c] = x[from * cols + c];
}

dim3 grid_of(int64_t cols, int64_t rows) {
  return dim3(static_cast<unsigned>((cols + kThreads - 1) / kThreads), static_cast<unsigned>(rows));
}

}  // namespace

void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
              int64_t cols, cudaStream_t stream) {
  rms_norm_kernel<<<static_cast<unsigned>(rows), kNormThreads, 0, stream>>>(y, x, weight, epsilon,
                                                                            cols);
}

void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n, cudaStream_t stream) {
  swiglu_kernel<<<grid_of(n, rows), kThreads, 0, stream>>>(y, gate_up, n);
}

void gather_rows(float* y, const float* x, const int32_t* indices, int64_t rows, int64_t cols,
                 cudaStream_t stream) {
  gather_kernel<<<grid_of(cols, rows), kThreads, 0, stream>>>(y, x, indices, cols);
}

}  // namespace upg::kernels::cuda
