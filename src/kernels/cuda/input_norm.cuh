// What a row of a product's output is multiplied by where its input had no norm.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/few.h"

namespace upg::kernels::cuda {

// By a warp: what is to be read is asked for at once, and put together when it is needed.
class AskedNorm {
 public:
  __device__ __forceinline__ AskedNorm(const InputNorm& norm, int64_t row, int lane)
      : norm_(norm), row_(row), lane_(lane) {
#pragma unroll
    for (int i = 0; i < kAsked; ++i) {
      const int block = lane + i * kWarp;
      squares_[i] = norm.squares != nullptr && block < norm.blocks ? at(block) : 0.0f;
    }
  }

  __device__ __forceinline__ float get() const {
    if (norm_.squares == nullptr) return 1.0f;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kAsked; ++i) sum += squares_[i];
    for (int i = lane_ + kAsked * kWarp; i < norm_.blocks; i += kWarp) sum += at(i);
    const float mean = __fdiv_rn(warp_sum(sum), static_cast<float>(norm_.cols));
    return __fdiv_rn(1.0f, __fsqrt_rn(mean + norm_.epsilon));
  }

 private:
  static constexpr int kAsked = 2;

  __device__ __forceinline__ float at(int block) const {
    return __ldcg(norm_.squares + row_ * norm_.blocks + block);
  }

  const InputNorm& norm_;
  int64_t row_;
  int lane_;
  float squares_[kAsked];
};

__device__ __forceinline__ float norm_of(const InputNorm& norm, int64_t row, int lane) {
  return AskedNorm(norm, row, lane).get();
}

}  // namespace upg::kernels::cuda
