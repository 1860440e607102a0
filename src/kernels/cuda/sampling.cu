// Choosing a token from logits.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ bool better(const Best& a, const Best& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// The best of a block's threads, in thread 0.
__device__ Best best_of_block(Best own) {
  __shared__ Best warps[kThreads / kWarp];
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const Best other = {__shfl_xor_sync(kAllLanes, own.logit, mask),
                        __shfl_xor_sync(kAllLanes, own.id, mask)};
    if (better(other, own)) own = other;
  }
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = own;
  __syncthreads();
  if (threadIdx.x != 0) return own;
  for (int i = 1; i < kThreads / kWarp; ++i) {
    if (better(warps[i], own)) own = warps[i];
  }
  return own;
}

__global__ void part_kernel(const float* logits, int64_t vocabulary, Best* best) {
  logits += blockIdx.y * vocabulary;
  Best own = {-INFINITY, INT32_MAX};
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vocabulary;
       i += static_cast<int64_t>(kBestParts) * kThreads) {
    const Best next = {logits[i], static_cast<int32_t>(i)};
    if (better(next, own)) own = next;
  }
  own = best_of_block(own);
  if (threadIdx.x == 0) best[blockIdx.y * kBestParts + blockIdx.x] = own;
}

__global__ void best_kernel(const Best* best, int32_t* ids) {
  Best own = {-INFINITY, INT32_MAX};
  if (threadIdx.x < kBestParts) own = best[blockIdx.x * kBestParts + threadIdx.x];
  own = best_of_block(own);
  if (threadIdx.x == 0) ids[blockIdx.x] = own.id == INT32_MAX ? 0 : own.id;
}

}  // namespace

void best_ids(const float* logits, int64_t rows, int64_t vocabulary, Best* best, int32_t* ids,
              cudaStream_t stream) {
  const auto count = static_cast<unsigned>(rows);
  part_kernel<<<dim3(kBestParts, count), kThreads, 0, stream>>>(logits, vocabulary, best);
  best_kernel<<<count, kThreads, 0, stream>>>(best, ids);
}

}  // namespace upg::kernels::cuda
