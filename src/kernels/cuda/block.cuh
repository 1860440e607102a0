// One block of 128 columns in the registers of a warp, four columns a lane: rotation and
// quantisation, to the last bit what the reference computes (fixed order of additions, no
// contraction).
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

// kBlocks blocks side by side. signs: of the lane's columns, bit i = minus. Sylvester order, spans
// ascending. also(mask): in each round of exchanges, beside them.
template <int kBlocks, class Also>
__device__ __forceinline__ void rotate_blocks(float (&x)[kBlocks][4],
                                              const uint32_t (&signs)[kBlocks], int lane,
                                              const Also& also) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[n][i] = (signs[n] >> i & 1) != 0 ? -x[n][i] : x[n][i];
    const float a = __fadd_rn(x[n][0], x[n][1]);
    const float b = __fsub_rn(x[n][0], x[n][1]);
    const float c = __fadd_rn(x[n][2], x[n][3]);
    const float d = __fsub_rn(x[n][2], x[n][3]);
    x[n][0] = __fadd_rn(a, c);
    x[n][1] = __fadd_rn(b, d);
    x[n][2] = __fsub_rn(a, c);
    x[n][3] = __fsub_rn(b, d);
  }
#pragma unroll
  for (int mask = 1; mask < kWarp; mask *= 2) {
    also(mask);
    // other - x where the lane has the bit, else x + other: the sign flips exactly.
    const float sign = (lane & mask) != 0 ? -1.0f : 1.0f;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float other = __shfl_xor_sync(kAllLanes, x[n][i], mask);
        x[n][i] = fmaf(x[n][i], sign, other);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[n][i] = __fmul_rn(x[n][i], 0.08838834764831845f);  // 1/sqrt(128)
  }
}

template <class Also>
__device__ __forceinline__ void rotate_block(float (&x)[4], uint32_t signs, int lane,
                                             const Also& also) {
  float block[1][4] = {{x[0], x[1], x[2], x[3]}};
  rotate_blocks<1>(block, {signs}, lane, also);
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = block[0][i];
}
__device__ __forceinline__ void rotate_block(float (&x)[4], uint32_t signs, int lane) {
  rotate_block(x, signs, lane, [](int) {});
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

template <int kBlocks>
__device__ __forceinline__ void quantise_blocks(const float (&x)[kBlocks][4], int lane,
                                                QuantisedLane (&out)[kBlocks]) {
  float amax[kBlocks];
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    amax[n] = fmaxf(fmaxf(fabsf(x[n][0]), fabsf(x[n][1])), fmaxf(fabsf(x[n][2]), fabsf(x[n][3])));
    // A maximum drops NaN: let it be infinite, which is as little finite.
    const float sum = x[n][0] + x[n][1] + x[n][2] + x[n][3];
    if (isnan(sum)) amax[n] = INFINITY;
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {  // bits of floats that are not negative are in their order
    amax[n] = __uint_as_float(__reduce_max_sync(kAllLanes, __float_as_uint(amax[n])));
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const bool finite = amax[n] < INFINITY;
    const bool zero = !finite || amax[n] < 0x1p-100f;
    const float largest = zero ? 127.0f : amax[n];
    const float inverse = __fdiv_rn(127.0f, largest);
    uint32_t own = 0;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int q = zero ? 0 : __float2int_rn(__fmul_rn(x[n][i], inverse));
      sum += q;
      own |= (static_cast<uint32_t>(q) & 0xffu) << (8 * i);
    }
    out[n].scale = zero ? 0.0f : __fdiv_rn(largest, 127.0f);
    if (!finite) out[n].scale = __int_as_float(0x7fc00000);
    out[n].sum = __reduce_add_sync(kAllLanes, sum);
    // Columns 16 further lie in the lane four further.
    const uint32_t other = __shfl_xor_sync(kAllLanes, own, 4);
    out[n].word = (lane & 4) == 0 ? prmt(own, other, 0x5140) : prmt(own, other, 0x3726);
  }
}

__device__ __forceinline__ QuantisedLane quantise_block(const float (&x)[4], int lane) {
  const float block[1][4] = {{x[0], x[1], x[2], x[3]}};
  QuantisedLane out[1];
  quantise_blocks<1>(block, lane, out);
  return out[0];
}

// Block `block` of row `row` into tiles (views.h). scale: as InputView::tile_scale.
__device__ __forceinline__ void store_tile(const QuantisedLane& lane_q, int64_t tiled_rows,
                                           int64_t row, int64_t block, int lane, int8_t* q,
                                           uint32_t* scale) {
  const auto vector = (lane / 4) ^ static_cast<int>(row % 8);
  const int64_t word = (block * tiled_rows + row) * kWarp + 4 * vector + lane % 4;
  reinterpret_cast<uint32_t*>(q)[word] = lane_q.word;
  if (lane != 0) return;
  scale += 2 * block * tiled_rows + row;
  scale[0] = __float_as_uint(lane_q.scale);
  scale[tiled_rows] = tile_start(lane_q.sum);
}

}  // namespace upg::kernels::cuda
