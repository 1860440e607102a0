// Attention in the token kernel: a block takes one kv head (up to four of the heads that share it)
// and a part of the positions. Whoever prepares the input of the next product puts the parts
// together (token_input.cuh).
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_half.cuh"
#include "kernels/cuda/marked.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

struct AttentionUnit {
  int index;
  int kv_head;
  int first_head;
  int heads;
};

constexpr int kGatheredStride = kFastHeadDim + 4;  // floats of a warp and head

// Vectors of the unit in shared memory: its heads' q, then k, v; normed and turned. A warp each.
__device__ __forceinline__ void load_vectors(const TokenArguments& a, const Memory& m,
                                             const TokenPhase& phase, const AttentionUnit& unit,
                                             uint32_t mark) {
  const int lane = lane_index();
  const int warp = warp_index();
  const int dim = a.head_dim;
  const bool is_q = warp < kTokenHeads;
  if (warp >= kTokenHeads + 2 || (is_q && warp >= unit.heads)) return;
  int from = is_q ? unit.first_head + warp : a.heads + unit.kv_head;
  if (warp == kTokenHeads + 1) from += a.kv_heads;
  float* to = m.scratch() + warp * kFastHeadDim;
  float4 v = {0, 0, 0, 0};
  if (4 * lane < dim) {
    v = await_floats(a.qkv + static_cast<int64_t>(from) * dim + 4 * lane, mark);
    *reinterpret_cast<float4*>(to + 4 * lane) = v;
  }
  __syncwarp();
  if (warp > kTokenHeads) return;
  const float* norm = is_q ? phase.q_norm : phase.k_norm;
  if (norm != nullptr) {
    const float squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, v.w * v.w)));
    const float mean = __fdiv_rn(warp_sum(squares), static_cast<float>(dim));
    const float factor = __fdiv_rn(1.0f, __fsqrt_rn(mean + a.epsilon));
    for (int i = lane; i < dim; i += kWarp) to[i] = to[i] * factor * norm[i];
  }
  __syncwarp();
  for (int i = lane; i < a.half_rotary; i += kWarp) {
    const float cos = m.shared->cos[i];
    const float sin = m.shared->sin[i];
    const float x = to[i];
    const float y = to[i + a.half_rotary];
    to[i] = x * cos - y * sin;
    to[i + a.half_rotary] = y * cos + x * sin;
  }
}

// A warp's sums into shared memory.
__device__ __forceinline__ void store_gathered(float* gathered, const Gathered<kTokenHeads>& state,
                                               int head_dim) {
  const int lane = lane_index();
  const int warp = warp_index();
  const int dim = lane % kHalfWarp * kLaneDims;
  if (lane >= kHalfWarp) return;
#pragma unroll
  for (int h = 0; h < kTokenHeads; ++h) {
    float* to = gathered + (warp * kTokenHeads + h) * kGatheredStride;
    if (dim < head_dim) {
      *reinterpret_cast<float4*>(to + dim) =
          float4{state.out[h][0], state.out[h][1], state.out[h][2], state.out[h][3]};
      *reinterpret_cast<float4*>(to + dim + 4) =
          float4{state.out[h][4], state.out[h][5], state.out[h][6], state.out[h][7]};
    }
    if (lane == 0) {
      to[kFastHeadDim] = state.maximum[h];
      to[kFastHeadDim + 1] = state.sum[h];
    }
  }
}

// What each warp's sums are worth: shared->keep, total, highest.
__device__ __forceinline__ void weigh_warps(const Memory& m, const float* gathered) {
  const int lane = lane_index();
  const int warp = warp_index();
  sync();
  if (warp < kTokenHeads) {
    const float* from = gathered + (lane * kTokenHeads + warp) * kGatheredStride + kFastHeadDim;
    const float maximum = lane < kTokenWarps ? from[0] : -INFINITY;
    const float highest = warp_max(maximum);
    const float keep = lane < kTokenWarps ? shrink(maximum, highest) : 0.0f;
    const float total = warp_sum(lane < kTokenWarps ? from[1] * keep : 0.0f);
    m.shared->keep[warp][lane] = keep;
    if (lane == 0) {
      m.shared->total[warp] = total;
      m.shared->highest[warp] = highest;
    }
  }
  sync();
}

// The positions of one part.
struct Positions {
  int first;
  int last;
};

__device__ __forceinline__ Positions positions_of(const TokenArguments& a, const TokenPhase& phase,
                                                  int split) {
  const int begin = phase.window > 0 ? max(0, a.position - phase.window + 1) : 0;
  const int part = (a.position + 1 - begin + a.splits - 1) / a.splits;
  const int first = min(begin + split * part, a.position + 1);
  return {first, min(first + part, a.position + 1)};
}

__device__ __forceinline__ CacheView cache_of(const TokenArguments& a, const TokenPhase& phase,
                                              const AttentionUnit& unit) {
  return {phase.k, phase.v, a.pages, a.kv_heads, unit.kv_head, a.k_row, a.v_row};
}

// Rows of the cache on their way to the L2 cache while the block waits for the others, as many as
// would hardly be gone again before they are read. By the warps that have nothing else to do before
// the phase's input comes.
__device__ __forceinline__ void prefetch_rows(const CacheView& cache, const Positions& positions) {
  constexpr int kLine = 128;
  constexpr int kMost = 512;
  const int last = min(positions.last - 1, positions.first + kMost);  // the newest is not there yet
  const int lines = static_cast<int>((cache.k_row + kLine - 1) / kLine);
  const int count = max(0, last - positions.first) * lines;
  if (warp_index() == kLastWarp) return;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kComputing - kWarp) {
    const int64_t row = cache.row(positions.first + i / lines);
    prefetch_l2(cache.k + row * cache.k_row + i % lines * kLine);
    prefetch_l2(cache.v + row * cache.v_row + i % lines * kLine);
  }
}

// The heads' vectors are in shared memory; each warp's sums go there.
template <KvType kType>
__device__ __forceinline__ void gather_floats(const TokenArguments& a, const CacheView& cache,
                                              const float* vectors, float* gathered,
                                              const AttentionUnit& unit, int first, int last) {
  const int lane = lane_index();
  const int dim = lane % kHalfWarp * kLaneDims;
  const bool has_dims = dim < a.head_dim;
  float q[kTokenHeads][kLaneDims];
#pragma unroll
  for (int h = 0; h < kTokenHeads; ++h) {
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) {
      q[h][i] = has_dims && h < unit.heads ? vectors[h * kFastHeadDim + dim + i] : 0.0f;
    }
  }
  Gathered<kTokenHeads> state;
  clear(state);
  gather<kType, kType, kTokenHeads, 2>(cache, q, a.scale, dim, has_dims,
                                       first + static_cast<int>(threadIdx.x) / kHalfWarp, last,
                                       2 * kTokenWarps, state);
  merge_halves(state);
  store_gathered(gathered, state, a.head_dim);
}

__device__ __forceinline__ void gather_f16(const TokenArguments& a, const CacheView& cache,
                                           const float* vectors, float* gathered,
                                           const AttentionUnit& unit, int first, int last) {
  const int lane = lane_index();
  const int warp = warp_index();
  auto& query =
      *reinterpret_cast<QueryTile*>(gathered + kTokenWarps * kTokenHeads * kGatheredStride);
  static_assert(sizeof(QueryTile) == kQueryBytes && kHalfSteps * kWarp <= kTokenThreads);
  if (threadIdx.x < kHalfSteps * kWarp) {
    const float* q = lane / 4 < unit.heads ? vectors + lane / 4 * kFastHeadDim : nullptr;
    fill_query(query, static_cast<int>(threadIdx.x), q, a.head_dim);
  }
  sync();
  HalfGathered state;
  gather_halves(cache, query, a.scale, a.head_dim, first + warp * kTilePositions, last,
                kTokenWarps * kTilePositions, state);
  if (lane / 4 < kTokenHeads) {
    store_gathered(state, a.scale, gathered + (warp * kTokenHeads + lane / 4) * kGatheredStride);
  }
}

template <KvType kType>
__device__ __forceinline__ void attend_part(const TokenArguments& a, const Memory& m,
                                            const TokenPhase& phase, const AttentionUnit& unit,
                                            int split, uint32_t mark) {
  const int lane = lane_index();
  const int warp = warp_index();
  auto* vectors = m.scratch();
  float* gathered = vectors + (kTokenHeads + 2) * kFastHeadDim;
  load_vectors(a, m, phase, unit, mark);
  sync();

  const auto [first, last] = positions_of(a, phase, split);
  const CacheView cache = cache_of(a, phase, unit);
  if (last == a.position + 1 && first < last) {  // the part of the new position
    // Units of one kv head write the same row with the same bits.
    if (warp < 2) {
      const float* vector = vectors + (kTokenHeads + warp) * kFastHeadDim;
      uint8_t* row =
          (warp == 0 ? phase.k : phase.v) + cache.row(a.position) * (warp == 0 ? a.k_row : a.v_row);
      store_row(row, kType, a.head_dim, lane, [&](int i) { return vector[i]; });
    }
    sync();
  }

  if constexpr (kType == KvType::kF16) {
    gather_f16(a, cache, vectors, gathered, unit, first, last);
  } else {
    gather_floats<kType>(a, cache, vectors, gathered, unit, first, last);
  }
  weigh_warps(m, gathered);
  const int stride = a.head_dim + kPartExtra;
  Marked* parts = a.parts + static_cast<int64_t>(unit.index) * kTokenHeads * a.splits * stride;
  for (int i = static_cast<int>(threadIdx.x); i < unit.heads * a.head_dim; i += kComputing) {
    const int h = i / a.head_dim;
    const int d = i % a.head_dim;
    float out = 0;
#pragma unroll
    for (int w = 0; w < kTokenWarps; ++w) {
      out = fmaf(gathered[(w * kTokenHeads + h) * kGatheredStride + d], m.shared->keep[h][w], out);
    }
    Marked* to = parts + (static_cast<int64_t>(h) * a.splits + split) * stride;
    publish(to + d, out, mark);
    if (d == 0) {
      publish(to + a.head_dim, m.shared->highest[h], mark);
      publish(to + a.head_dim + 1, m.shared->total[h], mark);
    }
  }
}

// The unit of this block; its part of the positions is blockIdx.x / units.
__device__ __forceinline__ AttentionUnit unit_of(const TokenArguments& a, int& split) {
  const int group = a.heads / a.kv_heads;
  const int chunks = (group + kTokenHeads - 1) / kTokenHeads;
  const int units = a.kv_heads * chunks;
  split = static_cast<int>(blockIdx.x) / units;
  AttentionUnit unit;
  unit.index = static_cast<int>(blockIdx.x) % units;
  unit.kv_head = unit.index / chunks;
  const int skipped = unit.index % chunks * kTokenHeads;
  unit.first_head = unit.kv_head * group + skipped;
  unit.heads = min(kTokenHeads, group - skipped);
  return unit;
}

// The block's keys and values on their way to the L2 cache, long before attend(): new pages of
// memory take their time.
__device__ __forceinline__ void prefetch_attended(const TokenArguments& a,
                                                  const TokenPhase& phase) {
  int split = 0;
  const AttentionUnit unit = unit_of(a, split);
  if (split < a.splits) prefetch_rows(cache_of(a, phase, unit), positions_of(a, phase, split));
}

// mark: of q, k and v and of the results.
template <KvType kType>
__device__ __forceinline__ void attend(const TokenArguments& a, const Memory& m,
                                       const TokenPhase& phase, uint32_t mark) {
  int split = 0;
  const AttentionUnit unit = unit_of(a, split);
  if (split < a.splits) attend_part<kType>(a, m, phase, unit, split, mark);
  sync();
}

}  // namespace upg::kernels::cuda
