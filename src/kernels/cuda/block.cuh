// One block of 128 columns in the registers of a warp, four columns a lane: rotation and
// quantisation, to the last bit what the reference computes (fixed order of additions, no
// contraction).
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

// signs: of the lane's columns, bit i = minus. Sylvester order, spans ascending.
__device__ __forceinline__ void rotate_block(float (&x)[4], uint32_t signs, int lane) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = (signs >> i & 1) != 0 ? -x[i] : x[i];
  const float a = __fadd_rn(x[0], x[1]);
  const float b = __fsub_rn(x[0], x[1]);
  const float c = __fadd_rn(x[2], x[3]);
  const float d = __fsub_rn(x[2], x[3]);
  x[0] = __fadd_rn(a, c);
  x[1] = __fadd_rn(b, d);
  x[2] = __fsub_rn(a, c);
  x[3] = __fsub_rn(b, d);
#pragma unroll
  for (int mask = 1; mask < kWarp; mask *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float other = __shfl_xor_sync(kAllLanes, x[i], mask);
      x[i] = (lane & mask) != 0 ? __fsub_rn(other, x[i]) : __fadd_rn(x[i], other);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = __fmul_rn(x[i], 0.08838834764831845f);  // 1 / sqrt(128)
}

// The signs of a lane's four columns of a block.
__device__ __forceinline__ uint32_t lane_signs(const uint8_t* block_signs, int lane) {
  return block_signs[lane / 2] >> (4 * (lane % 2)) & 15u;
}

struct QuantisedLane {
  uint32_t word;  // word permuted_word(lane) of the block, in the order of views.h
  float scale;    // of the block, in every lane
  int sum;        // likewise
};

__device__ __forceinline__ int permuted_word(int lane) {
  return lane % 4 * 8 + lane / 8 * 2 + lane / 4 % 2;
}

__device__ __forceinline__ QuantisedLane quantise_block(const float (&x)[4], int lane) {
  float amax = 0;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    amax = fmaxf(amax, fabsf(x[i]));
    finite = finite && isfinite(x[i]);
  }
  amax = warp_max(amax);
  finite = __all_sync(kAllLanes, finite);
  QuantisedLane out = {0, finite ? 0.0f : __int_as_float(0x7fc00000), 0};
  if (!finite || amax < 0x1p-100f) return out;
  out.scale = __fdiv_rn(amax, 127.0f);
  const float inverse = __fdiv_rn(127.0f, amax);
  uint32_t own = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int q = __float2int_rn(__fmul_rn(x[i], inverse));
    out.sum += q;
    own |= (static_cast<uint32_t>(q) & 0xffu) << (8 * i);
  }
  out.sum = __reduce_add_sync(kAllLanes, out.sum);
  // Columns 16 further lie in the lane four further.
  const uint32_t other = __shfl_xor_sync(kAllLanes, own, 4);
  out.word = (lane & 4) == 0 ? prmt(own, other, 0x5140) : prmt(own, other, 0x3726);
  return out;
}

}  // namespace upg::kernels::cuda
