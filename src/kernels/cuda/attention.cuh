// Attention of one kv head's queries over a part of a sequence's cache, with a softmax that runs
// along (Milakov and Gimelshein 2018). Half a warp takes a position at a time: each of its 16 lanes
// holds 8 of up to 128 dimensions, for up to kHeads heads that share the kv head.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/geometry.h"

namespace upg::kernels::cuda {

constexpr int kHalfWarp = 16;
static_assert(kHalfWarp * kLaneDims == kFastHeadDim);

// Eight dimensions of a cache row, `dim` the first.
template <KvType kType>
__device__ __forceinline__ void load_dims(const uint8_t* row, int dim, float (&x)[kLaneDims]) {
  if constexpr (kType == KvType::kF32) {
    const auto* at = reinterpret_cast<const float4*>(row + 4 * dim);
    const float4 a = at[0];
    const float4 b = at[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
  } else if constexpr (kType == KvType::kF16) {
    const uint4 bits = *reinterpret_cast<const uint4*>(row + 2 * dim);
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      x[2 * i] = pair.x;
      x[2 * i + 1] = pair.y;
    }
  } else {
    const auto* block = reinterpret_cast<const uint16_t*>(row + dim / kQ8Values * kQ8Bytes);
    const float scale = half_bits_to_float(block[0]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint16_t pair = block[1 + dim % kQ8Values / 2 + i];
      x[2 * i] = scale * static_cast<float>(static_cast<int8_t>(pair & 0xff));
      x[2 * i + 1] = scale * static_cast<float>(static_cast<int8_t>(pair >> 8));
    }
  }
}

// Where a position's row of one kv head lies.
struct CacheView {
  const uint8_t* k;
  const uint8_t* v;
  const int32_t* pages;
  int kv_heads;
  int kv_head;
  int64_t k_row;  // bytes
  int64_t v_row;

  __device__ __forceinline__ int64_t row(int position) const {
    const int64_t page = pages[position / kPageTokens];
    return (page * kv_heads + kv_head) * kPageTokens + position % kPageTokens;
  }
};

// What half a warp has gathered; after merge_halves() both halves hold the sum.
template <int kHeads>
struct Gathered {
  float maximum[kHeads];
  float sum[kHeads];
  float out[kHeads][kLaneDims];
};

template <int kHeads>
__device__ __forceinline__ void clear(Gathered<kHeads>& state) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    state.maximum[h] = -INFINITY;
    state.sum[h] = 0;
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) state.out[h][i] = 0;
  }
}

// exp(a - b) where b >= a, both may be -infinity.
__device__ __forceinline__ float shrink(float a, float b) { return a == b ? 1.0f : expf(a - b); }

// Positions first, first + step, ... below last, kAtOnce at a time; q: this lane's dimensions of
// each head, already times nothing: scores are multiplied by `scale` as the reference does.
template <KvType kK, KvType kV, int kHeads, int kAtOnce>
__device__ __forceinline__ void gather(const CacheView& cache, const float (&q)[kHeads][kLaneDims],
                                       float scale, int dim, bool lane_has_dims, int first,
                                       int last, int step, Gathered<kHeads>& state) {
  // Both halves of a warp take as many turns, so that shuffles meet.
  const int other = __shfl_xor_sync(kAllLanes, first, kHalfWarp);
  for (int p = first; min(p, p - first + other) < last; p += kAtOnce * step) {
    float score[kAtOnce][kHeads];
    float v[kAtOnce][kLaneDims];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int position = p + u * step;
      float k[kLaneDims] = {};
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) v[u][i] = 0;
      if (position < last && lane_has_dims) {
        const int64_t row = cache.row(position);
        load_dims<kK>(cache.k + row * cache.k_row, dim, k);
        load_dims<kV>(cache.v + row * cache.v_row, dim, v[u]);
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) sum = fmaf(q[h][i], k[i], sum);
        score[u][h] = sum;
      }
    }
#pragma unroll
    for (int mask = kHalfWarp / 2; mask > 0; mask /= 2) {
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          score[u][h] += __shfl_xor_sync(kAllLanes, score[u][h], mask);
        }
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float highest = state.maximum[h];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        score[u][h] = p + u * step < last ? score[u][h] * scale : -INFINITY;
        highest = fmaxf(highest, score[u][h]);
      }
      const float keep = shrink(state.maximum[h], highest);
      state.maximum[h] = highest;
      state.sum[h] *= keep;
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) state.out[h][i] *= keep;
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const float weight = p + u * step < last ? expf(score[u][h] - highest) : 0.0f;
        state.sum[h] += weight;
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) {
          state.out[h][i] = fmaf(weight, v[u][i], state.out[h][i]);
        }
      }
    }
  }
}

template <int kHeads>
__device__ __forceinline__ void merge_halves(Gathered<kHeads>& state) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float other = __shfl_xor_sync(kAllLanes, state.maximum[h], kHalfWarp);
    const float highest = fmaxf(state.maximum[h], other);
    const float keep = shrink(state.maximum[h], highest);
    state.maximum[h] = highest;
    state.sum[h] *= keep;
    state.sum[h] += __shfl_xor_sync(kAllLanes, state.sum[h], kHalfWarp);
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) {
      state.out[h][i] *= keep;
      state.out[h][i] += __shfl_xor_sync(kAllLanes, state.out[h][i], kHalfWarp);
    }
  }
}

// Thread-parallel over dimensions: part i of a head begins at parts + i * stride. Returns the
// combined value of dimension `dim`, and where asked for the maximum and sum.
__device__ __forceinline__ float combine(const float* parts, int64_t stride, int count,
                                         int head_dim, int dim, float& maximum, float& sum) {
  maximum = -INFINITY;
  for (int i = 0; i < count; ++i) maximum = fmaxf(maximum, __ldcg(parts + i * stride + head_dim));
  sum = 0;
  float out = 0;
  for (int i = 0; i < count; ++i) {
    const float* part = parts + i * stride;
    const float keep = shrink(__ldcg(part + head_dim), maximum);
    sum += __ldcg(part + head_dim + 1) * keep;
    out += __ldcg(part + dim) * keep;
  }
  return out;
}

// A value as its cache row holds it; the writer of kQ8 rows needs 32 values at once (store_q8).
__device__ __forceinline__ void store_q8(uint8_t* row, int lane, float x) {
  float amax = fabsf(x);
  amax = warp_max(amax);
  const __half bits = __float2half_rn(fminf(__fdiv_rn(amax, 127.0f), 65504.0f));
  const float scale = __half2float(bits);
  const float q = fmaxf(-127.0f, fminf(127.0f, rintf(__fdiv_rn(x, scale))));
  // fminf drops a NaN: it becomes 127, as on the CPU.
  if (lane == 0) *reinterpret_cast<uint16_t*>(row) = __half_as_ushort(bits);
  row[2 + lane] = static_cast<uint8_t>(static_cast<int8_t>(scale > 0 ? q : 0.0f));
}

// One head's vector into its cache row, by a warp: lane l holds x[l], x[l + 32], ...
template <class Value>
__device__ __forceinline__ void store_row(uint8_t* row, KvType type, int head_dim, int lane,
                                          const Value& value) {
  for (int i = lane; i < head_dim; i += kWarp) {
    if (type == KvType::kF32) reinterpret_cast<float*>(row)[i] = value(i);
    if (type == KvType::kF16) reinterpret_cast<__half*>(row)[i] = __float2half_rn(value(i));
    if (type == KvType::kQ8) store_q8(row + i / kQ8Values * kQ8Bytes, lane, value(i));
  }
}

// The row of one kv head and position in the cache.
__device__ __forceinline__ uint8_t* cache_row(const KvLayer& cache, bool is_v,
                                              const AttentionShape& shape, const int32_t* pages,
                                              int kv_head, int position) {
  const KvType type = is_v ? cache.v_type : cache.k_type;
  const int64_t page = pages[position / kPageTokens];
  const int64_t row = (page * shape.kv_heads + kv_head) * kPageTokens + position % kPageTokens;
  const int64_t bytes = type == KvType::kF32   ? 4 * shape.head_dim
                        : type == KvType::kF16 ? 2 * shape.head_dim
                                               : shape.head_dim / kQ8Values * kQ8Bytes;
  return reinterpret_cast<uint8_t*>(is_v ? cache.v : cache.k) + row * bytes;
}

// ---- a head's vector before it is stored, by a warp

__device__ __forceinline__ void norm_head(float* head, const float* weight, float epsilon, int dim,
                                          int lane) {
  float sum = 0;
  for (int i = lane; i < dim; i += kWarp) sum = fmaf(head[i], head[i], sum);
  const float mean = __fdiv_rn(warp_sum(sum), static_cast<float>(dim));
  const float factor = __fdiv_rn(1.0f, __fsqrt_rn(mean + epsilon));
  for (int i = lane; i < dim; i += kWarp) head[i] = head[i] * factor * weight[i];
  __syncwarp();
}

// cos, sin: [tokens, half]
__device__ __forceinline__ void turn_head(float* head, const float* cos, const float* sin,
                                          int64_t token, int half, int lane) {
  for (int i = lane; i < half; i += kWarp) {
    const float c = cos[token * half + i];
    const float s = sin[token * half + i];
    const float a = head[i];
    const float b = head[i + half];
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
  __syncwarp();
}

// The same with cosines and sines that were asked for beforehand.
class HeadTurn {
 public:
  __device__ __forceinline__ HeadTurn(const float* cos, const float* sin, int64_t token, int half,
                                      int lane)
      : half_(half) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int i = lane + j * kWarp;
      cos_[j] = i < half ? cos[token * half + i] : 1.0f;
      sin_[j] = i < half ? sin[token * half + i] : 0.0f;
    }
  }

  __device__ __forceinline__ void apply(float* head, int lane) const {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int i = lane + j * kWarp;
      if (i >= half_) continue;
      const float a = head[i];
      const float b = head[i + half_];
      head[i] = a * cos_[j] - b * sin_[j];
      head[i + half_] = b * cos_[j] + a * sin_[j];
    }
    __syncwarp();
  }

 private:
  static constexpr int kEach = kFastHeadDim / 2 / kWarp;
  int half_;
  float cos_[kEach];
  float sin_[kEach];
};

}  // namespace upg::kernels::cuda
