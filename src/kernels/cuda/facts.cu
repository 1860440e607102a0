// How fast a device reads its memory.
#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kAhead = 8;  // reads on their way in a thread

__global__ void read_kernel(const uint4* data, int64_t count, uint32_t* out) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  uint32_t sum = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
       i + (kAhead - 1) * stride < count; i += kAhead * stride) {
    uint4 v[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) v[u] = __ldcs(data + i + u * stride);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) sum ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  if (sum == 0x12345678u) *out = sum;
}

}  // namespace

double measure_read(int multiprocessors, uint64_t available) noexcept {
  const size_t bytes = std::min<size_t>(size_t{2} << 30, available / 4) / 4096 * 4096;
  void* data = nullptr;
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  cudaMemset(data, 1, bytes);
  float best = 0;
  for (int i = 0; i < 5; ++i) {
    cudaEventRecord(begin);
    read_kernel<<<multiprocessors * 4, kThreads>>>(static_cast<const uint4*>(data), bytes / 16,
                                                   static_cast<uint32_t*>(data));
    cudaEventRecord(end);
    float milliseconds = 0;
    if (cudaEventSynchronize(end) != cudaSuccess) break;
    cudaEventElapsedTime(&milliseconds, begin, end);
    if (best == 0 || milliseconds < best) best = milliseconds;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaFree(data);
  return best > 0 ? static_cast<double>(bytes) / (1e-3 * best) : 0;
}

}  // namespace upg::kernels::cuda
