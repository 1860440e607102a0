// Attention of a few heads' queries over an f16 cache on the tensor cores, without shared memory
// for keys and values: a warp takes sixteen positions at a time. Which dimension a place of a
// product's depth is does not matter as long as both sides agree, so that a lane loads whole
// vectors of keys; of values it packs the halves of two positions.
//
// Queries and weights are float32, each as the sum of two halves, so that products keep 22 bits and
// agree with the other kernels. The tensor cores cut sums off instead of rounding them: the sums of
// sixteen positions begin anew and are added in float32.
#pragma once

#include "kernels/cuda/attention.cuh"

namespace upg::kernels::cuda {

constexpr int kTilePositions = 16;
constexpr int kTileHeads = 8;  // rows of a product that are used; the other eight are zeros
constexpr int kHalfSteps = kFastHeadDim / 16;
constexpr int kDimTiles = kFastHeadDim / 8;

// Two floats as the halves nearest to them, and what is left likewise.
__device__ __forceinline__ void split_halves(float x, float y, uint32_t& high, uint32_t& low) {
  const __half2 h = __floats2half2_rn(x, y);
  const float2 back = __half22float2(h);
  const __half2 l = __floats2half2_rn(x - back.x, y - back.y);
  high = *reinterpret_cast<const uint32_t*>(&h);
  low = *reinterpret_cast<const uint32_t*>(&l);
}

__device__ __forceinline__ void mma_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                           uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The left operand of the scores as a warp's lanes take it: [kHalfSteps][lanes], of each the high
// and the low parts of four dimensions of head lane / 4.
struct QueryTile {
  uint4 part[kHalfSteps][kWarp];
};

// By kHalfSteps times 32 threads, `index` from 0. q: of head lane / 4, or nullptr past the last.
__device__ __forceinline__ void fill_query(QueryTile& to, int index, const float* q, int head_dim) {
  const int lane = index % kWarp;
  const int step = index / kWarp;
  const int dim = step / 2 * 32 + lane % 4 * 8 + step % 2 * 4;
  float4 x = {0, 0, 0, 0};
  if (q != nullptr && dim < head_dim) x = *reinterpret_cast<const float4*>(q + dim);
  uint4 part;
  split_halves(x.x, x.y, part.x, part.z);
  split_halves(x.z, x.w, part.y, part.w);
  to.part[step][lane] = part;
}

// Of head lane / 4: what the warp has gathered. sum: of this lane's positions.
struct HalfGathered {
  float maximum = -INFINITY;  // of scores that are not scaled yet
  float sum = 0;
  float out[kDimTiles][2] = {};  // dimension 16 (lane % 4 * 2 + c) + t
};

struct HalfTile {
  uint4 k[2][kHalfSteps / 2];  // positions lane / 4 and 8 more
  uint4 v[4][2];               // positions lane % 4 * 2, one more, 8 more, 9 more

  // Dimensions 32 i + 8 (lane % 4) ... of position n.
  __device__ __forceinline__ uint4 keys(int n, int i) const { return k[n][i]; }
  // Dimensions 16 (lane / 4) + 8 i ... of position n.
  __device__ __forceinline__ uint4 values(int n, int i) const { return v[n][i]; }
};

__device__ __forceinline__ void load_tile(const CacheView& cache, int first, int last, int head_dim,
                                          HalfTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int position = first + lane / 4 + 8 * n;
    const uint8_t* row = cache.k + (position < last ? cache.row(position) * cache.k_row : 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int dim = 32 * i + lane % 4 * 8;
      uint4 x = {0, 0, 0, 0};
      if (position < last && dim < head_dim) x = *reinterpret_cast<const uint4*>(row + 2 * dim);
      tile.k[n][i] = x;
    }
  }
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int position = first + lane % 4 * 2 + n % 2 + n / 2 * 8;
    const uint8_t* row = cache.v + (position < last ? cache.row(position) * cache.v_row : 0);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int dim = 16 * (lane / 4) + 8 * i;
      uint4 x = {0, 0, 0, 0};
      if (position < last && dim < head_dim) x = *reinterpret_cast<const uint4*>(row + 2 * dim);
      tile.v[n][i] = x;
    }
  }
}

__device__ __forceinline__ uint32_t word_of(const uint4& vector, int i) {
  return i == 0 ? vector.x : i == 1 ? vector.y : i == 2 ? vector.z : vector.w;
}

// Tile: HalfTile or alike. factor: of scores, times log2(e).
template <class Tile>
__device__ __forceinline__ void add_tile(const Tile& tile, const QueryTile& q, int first, int last,
                                         float factor, HalfGathered& state) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float score[2][4] = {};
#pragma unroll
  for (int i = 0; i < kHalfSteps / 2; ++i) {
    const uint4 keys[2] = {tile.keys(0, i), tile.keys(1, i)};
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const uint4 part = q.part[2 * i + step][lane];
      const uint32_t high[4] = {part.x, 0, part.y, 0};
      const uint32_t low[4] = {part.z, 0, part.w, 0};
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const uint32_t b0 = word_of(keys[n], 2 * step);
        const uint32_t b1 = word_of(keys[n], 2 * step + 1);
        mma_halves(score[n], high, b0, b1);
        mma_halves(score[n], low, b0, b1);
      }
    }
  }
  float highest = state.maximum;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (first + 8 * n + lane % 4 * 2 + c >= last) score[n][c] = -INFINITY;
      highest = fmaxf(highest, score[n][c]);
    }
  }
  highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
  highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
  const float base = highest * factor;  // finite: the first position is always seen
  const float keep = exp2f(fmaf(state.maximum, factor, -base));
  state.maximum = highest;
  state.sum *= keep;
  uint32_t high[4] = {};
  uint32_t low[4] = {};
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float x = exp2f(fmaf(score[n][0], factor, -base));
    const float y = exp2f(fmaf(score[n][1], factor, -base));
    state.sum += x + y;
    split_halves(x, y, high[2 * n], low[2 * n]);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 values[4] = {tile.values(0, i), tile.values(1, i), tile.values(2, i),
                             tile.values(3, i)};
#pragma unroll
    for (int d = 0; d < 8; ++d) {
      const uint32_t order = d % 2 == 0 ? 0x5410 : 0x7632;
      const uint32_t b0 = prmt(word_of(values[0], d / 2), word_of(values[1], d / 2), order);
      const uint32_t b1 = prmt(word_of(values[2], d / 2), word_of(values[3], d / 2), order);
      float part[4] = {};
      mma_halves(part, high, b0, b1);
      mma_halves(part, low, b0, b1);
      const int t = 8 * i + d;
#pragma unroll
      for (int c = 0; c < 2; ++c) state.out[t][c] = fmaf(state.out[t][c], keep, part[c]);
    }
  }
}

// The sum of the lanes that share a head: the last step.
__device__ __forceinline__ void sum_lanes(HalfGathered& state) {
  state.sum += __shfl_xor_sync(kAllLanes, state.sum, 1);
  state.sum += __shfl_xor_sync(kAllLanes, state.sum, 2);
}

// Positions first ... first + 15, then `step` further, below last: first is the warp's.
__device__ __forceinline__ void gather_halves(const CacheView& cache, const QueryTile& q,
                                              float scale, int head_dim, int first, int last,
                                              int step, HalfGathered& state) {
  const float factor = scale * 1.44269504f;
#pragma unroll 1
  for (int p = first; p < last; p += step) {
    HalfTile tile;
    load_tile(cache, p, last, head_dim, tile);
    add_tile(tile, q, p, last, factor, state);
  }
  sum_lanes(state);
}

// A head's part, of a warp or of several: sums, maximum, sum of weights, and two that round it up.
constexpr int kPartFloats = kFastHeadDim + 4;

// The result of the lane's head: [kFastHeadDim] sums, then the maximum of the scaled scores and the
// sum of weights. to: 16-byte aligned.
__device__ __forceinline__ void store_gathered(const HalfGathered& state, float scale, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int c = 0; c < 2; ++c) {
#pragma unroll
    for (int t = 0; t < kDimTiles; t += 4) {
      *reinterpret_cast<float4*>(to + 16 * (lane % 4 * 2 + c) + t) =
          float4{state.out[t][c], state.out[t + 1][c], state.out[t + 2][c], state.out[t + 3][c]};
    }
  }
  if (lane % 4 == 0) {
    to[kFastHeadDim] = state.maximum * scale;
    to[kFastHeadDim + 1] = state.sum;
  }
}

// Four dimensions of a head's parts put together, in their order.
struct CombinedDims {
  float dims[4] = {};
  float maximum = -INFINITY;
  float sum = 0;
};

// read(part, i): floats i ... i + 3 of a part, as store_gathered() leaves it.
template <class Read>
__device__ __forceinline__ CombinedDims combine_dims(int parts, int dim, const Read& read) {
  constexpr int kAtOnce = 4;  // parts that are asked for together
  CombinedDims c;
  for (int first = 0; first < parts; first += kAtOnce) {
    float4 end[kAtOnce];
    float4 sums[kAtOnce];
    float highest = c.maximum;
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const bool there = first + u < parts;
      end[u] = there ? read(first + u, kFastHeadDim) : float4{-INFINITY, 0, 0, 0};
      sums[u] = there ? read(first + u, dim) : float4{0, 0, 0, 0};
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) highest = fmaxf(highest, end[u].x);
    const float before = shrink(c.maximum, highest);
    c.maximum = highest;
    c.sum *= before;
#pragma unroll
    for (int d = 0; d < 4; ++d) c.dims[d] *= before;
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const float keep = shrink(end[u].x, highest);
      c.sum += end[u].y * keep;
      c.dims[0] += sums[u].x * keep, c.dims[1] += sums[u].y * keep;
      c.dims[2] += sums[u].z * keep, c.dims[3] += sums[u].w * keep;
    }
  }
  return c;
}

}  // namespace upg::kernels::cuda
