// Attention in the token kernel: a block takes one kv head (up to four of the heads that share it)
// and a part of the positions. Whoever prepares the input of the next product puts the parts
// together (token_input.cuh).
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/marked.cuh"
#include "kernels/cuda/token_staged.cuh"

namespace upg::kernels::cuda {

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

// The memory of a warp's staged positions: its slots, which no codes are in meanwhile.
__device__ __forceinline__ uint8_t* staged_of(const Memory& m) {
  return m.slots + warp_index() * kWarpSlotsBytes;
}

// Where position lane % 16 of the warp's tile that begins at `first` lies in the cache, or -1.
__device__ __forceinline__ int cache_row(const CacheView& cache, int first, int last) {
  const int position = first + lane_index() % kTilePositions;
  return position < last ? static_cast<int>(cache.row(position)) : -1;
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

// The same for f16: a tile of positions after the other, staged in the warp's slots, the first one
// already.
__device__ __forceinline__ void gather_f16(const TokenArguments& a, const CacheView& cache,
                                           uint8_t* staged, const QueryTile& query, float* gathered,
                                           const int* zeros, int first, int last) {
  constexpr int kStep = kTokenWarps * kTilePositions;
  const int lane = lane_index();
  const float factor = a.scale * 1.44269504f;
  HalfGathered state;
#pragma unroll 1
  for (int p = first + warp_index() * kTilePositions; p < last; p += kStep) {
    wait_all_copies();
    __syncwarp();
    // Addresses are found again for every tile: registers that are spilled here are missed later.
    const int zero = *static_cast<const volatile int*>(zeros);
    add_tile(StagedTile{staged, lane + zero}, query, p, last, factor, state);
    __syncwarp();
    if (p + kStep < last) stage(cache, cache_row(cache, p + kStep, last), a.head_dim, staged);
  }
  sum_lanes(state);
  if (lane / 4 < kTokenHeads) {
    store_gathered(state, a.scale,
                   gathered + (warp_index() * kTokenHeads + lane / 4) * kGatheredStride);
  }
}

// Puts the sums of `warps` together, for other blocks. parts: of the unit, split 0.
__device__ __forceinline__ void publish_part(const TokenArguments& a, const float* gathered,
                                             int warps, int heads, Marked* parts, int split,
                                             uint32_t mark) {
  constexpr int kWarpStride = kTokenHeads * kGatheredStride;
  constexpr int kThreads = kFastHeadDim / 2;  // of a head, two dimensions each
  static_assert(kTokenHeads * kThreads <= kTokenThreads);
  const int h = static_cast<int>(thread_index()) / kThreads;
  const int d = static_cast<int>(thread_index()) % kThreads * 2;
  if (h >= heads || d >= a.head_dim) return;
  const float* from = gathered + h * kGatheredStride;
  float highest = -INFINITY;
#pragma unroll 2
  for (int w = 0; w < warps; ++w) {
    highest = fmaxf(highest, from[w * kWarpStride + kFastHeadDim]);
  }
  float2 out = {0, 0};
  float total = 0;
#pragma unroll 2
  for (int w = 0; w < warps; ++w, from += kWarpStride) {
    const float keep = __expf(from[kFastHeadDim] - highest);
    const float2 sums = *reinterpret_cast<const float2*>(from + d);
    out.x = fmaf(sums.x, keep, out.x);
    out.y = fmaf(sums.y, keep, out.y);
    total = fmaf(from[kFastHeadDim + 1], keep, total);
  }
  const int64_t stride = a.head_dim + kPartExtra;
  Marked* to = parts + static_cast<int64_t>(h * a.splits + split) * stride;
  publish(to + d, out.x, mark);
  publish(to + d + 1, out.y, mark);
  if (d == 0) {
    publish(to + a.head_dim, highest, mark);
    publish(to + a.head_dim + 1, total, mark);
  }
}

template <KvType kType>
__device__ __forceinline__ void attend_part(const TokenArguments& a, const Memory& m,
                                            const TokenPhase& phase, uint32_t mark) {
  const AttentionUnit& unit = m.shared->unit;
  constexpr bool kStaged = kType == KvType::kF16;
  const int lane = lane_index();
  const int warp = warp_index();
  auto* vectors = m.scratch();
  float* gathered = vectors + (kTokenHeads + 2) * kFastHeadDim;
  auto& query =
      *reinterpret_cast<QueryTile*>(gathered + kTokenWarps * kTokenHeads * kGatheredStride);
  static_assert(sizeof(QueryTile) == kQueryBytes && kHalfSteps * kWarp <= kTokenThreads);
  const auto [first, last] = positions_of(a, phase, unit.split);
  const CacheView cache = cache_of(a, phase, unit);
  // A warp's positions: sixteen, or one for each half.
  constexpr int kPositions = kStaged ? kTilePositions : 2;
  const int warps = min((last - first + kPositions - 1) / kPositions, kTokenWarps);
  const bool has_newest = last == a.position + 1 && first < last;
  uint8_t* staged = staged_of(m);
  if (kStaged && warp < warps) {
    stage(cache, m.shared->cache_rows[warp * kTilePositions + lane % kTilePositions], a.head_dim,
          staged);
  }
  load_vectors(a, m, phase, unit, mark);
  sync();
  const float* key = vectors + kTokenHeads * kFastHeadDim;
  const float* value = key + kFastHeadDim;
  if (has_newest && warp < 2) {  // units of one kv head write the same row with the same bits
    const float* vector = warp == 0 ? key : value;
    const int64_t skipped = m.shared->newest_row;
    uint8_t* row = warp == 0 ? phase.k + skipped * a.k_row : phase.v + skipped * a.v_row;
    store_row(row, kType, a.head_dim, lane, [&](int i) { return vector[i]; });
  }
  if constexpr (kStaged) {
    if (has_newest && warp == (a.position - first) / kTilePositions) {
      wait_all_copies();
      stage_newest(key, value, (a.position - first) % kTilePositions, a.head_dim, staged);
    }
    if (threadIdx.x < kHalfSteps * kWarp) {
      const float* q = lane / 4 < unit.heads ? vectors + lane / 4 * kFastHeadDim : nullptr;
      fill_query(query, static_cast<int>(threadIdx.x), q, a.head_dim);
    }
  }
  sync();
  if (warp < warps) {
    if constexpr (kStaged) {
      gather_f16(a, cache, staged, query, gathered, reinterpret_cast<const int*>(m.shared->zeros),
                 first, last);
    } else {
      gather_floats<kType>(a, cache, vectors, gathered, unit, first, last);
    }
  }
  sync();
  const int64_t unit_parts = int64_t{kTokenHeads} * a.splits * (a.head_dim + kPartExtra);
  publish_part(a, gathered, warps, unit.heads, a.parts + unit.index * unit_parts, unit.split, mark);
}

// The unit of this block.
__device__ __forceinline__ AttentionUnit find_unit(const TokenArguments& a) {
  const int group = a.heads / a.kv_heads;
  const int chunks = (group + kTokenHeads - 1) / kTokenHeads;
  const int units = a.kv_heads * chunks;
  AttentionUnit unit;
  unit.split = static_cast<int>(blockIdx.x) / units;
  unit.index = static_cast<int>(blockIdx.x) % units;
  unit.kv_head = unit.index / chunks;
  const int skipped = unit.index % chunks * kTokenHeads;
  unit.first_head = unit.kv_head * group + skipped;
  unit.heads = min(kTokenHeads, group - skipped);
  return unit;
}

// The block's keys and values on their way to the L2 cache, long before attend(): new pages of
// memory take their time.
__device__ __forceinline__ void prefetch_attended(const TokenArguments& a, const Memory& m,
                                                  const TokenPhase& phase) {
  const AttentionUnit& unit = m.shared->unit;
  if (unit.split >= a.splits) return;
  prefetch_rows(cache_of(a, phase, unit), positions_of(a, phase, unit.split));
}

// Where the positions lie that the block will stage first, for attend(): all but the newest.
__device__ __forceinline__ void find_cache_rows(const TokenArguments& a, const Memory& m,
                                                const TokenPhase& phase) {
  const AttentionUnit& unit = m.shared->unit;
  const int warp = warp_index();
  const int lane = lane_index();
  if (unit.split >= a.splits) return;
  const CacheView cache = cache_of(a, phase, unit);
  if (lane == kTilePositions && warp == 0) {
    m.shared->newest_row = static_cast<int>(cache.row(a.position));
  }
  if (lane >= kTilePositions) return;
  const auto [first, last] = positions_of(a, phase, unit.split);
  m.shared->cache_rows[warp * kTilePositions + lane] =
      cache_row(cache, first + warp * kTilePositions, min(last, a.position));
}

// mark: of q, k and v and of the results.
template <KvType kType>
__device__ __forceinline__ void attend(const TokenArguments& a, const Memory& m,
                                       const TokenPhase& phase, uint32_t mark) {
  if (m.shared->unit.split < a.splits) attend_part<kType>(a, m, phase, mark);
  sync();
}

}  // namespace upg::kernels::cuda
