// What a row of a product's output is multiplied by where its input had no norm.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/few.h"

namespace upg::kernels::cuda {

// By a warp.
__device__ __forceinline__ float norm_of(const InputNorm& norm, int64_t row, int lane) {
  if (norm.squares == nullptr) return 1.0f;
  float sum = 0;
  for (int i = lane; i < norm.blocks; i += kWarp) {
    sum += __ldcg(norm.squares + row * norm.blocks + i);
  }
  const float mean = __fdiv_rn(warp_sum(sum), static_cast<float>(norm.cols));
  return __fdiv_rn(1.0f, __fsqrt_rn(mean + norm.epsilon));
}

}  // namespace upg::kernels::cuda
