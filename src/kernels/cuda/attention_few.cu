// Attention of a step in which every sequence has one token, with all around it: rotary turn, the
// new row of the cache, attending, and the next product's input. Blocks of a cluster have parts of
// a token's positions and one kv head; each puts some of the heads together at the end.
#include <cooperative_groups.h>

#include "kernels/cuda/attention_half.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/clusters.cuh"
#include "kernels/cuda/input_norm.cuh"
#include "kernels/cuda/ring.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPartFloats = kFastHeadDim + 4;  // sums, maximum, sum of weights

struct Arguments {
  const float* qkv;
  InputNorm norm;
  AttentionShape shape;
  const float* q_norm;
  const float* k_norm;
  float epsilon;
  KvLayer cache;
  StepView step;
  TileForm to;
  int splits;
  int64_t row_bytes;
};

struct Shared {
  QueryTile query;
  float vectors[kTileHeads + 2][kFastHeadDim];  // heads' q, then k, v
  float gathered[kWarps][kTileHeads][kPartFloats];
  float part[kTileHeads][kPartFloats];  // of the block, for its cluster
};

struct Unit {
  int token;
  int kv_head;
  int split;
  int heads;
  int first;  // positions
  int last;
};

__device__ __forceinline__ Unit unit_of(const Arguments& a) {
  Unit u;
  u.split = static_cast<int>(blockIdx.x) % a.splits;
  u.kv_head = static_cast<int>(blockIdx.x) / a.splits;
  u.token = static_cast<int>(blockIdx.y);
  u.heads = a.shape.heads / a.shape.kv_heads;
  const int position = a.step.positions[u.token];
  const int begin = a.shape.window > 0 ? max(0, position - a.shape.window + 1) : 0;
  const int part = (position + a.splits - begin) / a.splits;
  u.first = min(begin + u.split * part, position + 1);
  u.last = min(u.first + part, position + 1);
  return u;
}

// Vectors of the unit in shared memory, normed and turned: a warp each.
__device__ __forceinline__ void load_vectors(const Arguments& a, const Unit& u, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int dim = a.shape.head_dim;
  const int64_t width = static_cast<int64_t>(a.shape.heads + 2 * a.shape.kv_heads) * dim;
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < u.heads + 2; i += kWarps) {
    int head = u.kv_head * u.heads + i;
    if (i >= u.heads) head = a.shape.heads + u.kv_head + (i - u.heads) * a.shape.kv_heads;
    const float n = norm_of(a.norm, u.token, lane);
    const float* from = a.qkv + u.token * width + static_cast<int64_t>(head) * dim;
    float* to = shared.vectors[i];
    if (4 * lane < dim) {
      const float4 v = *reinterpret_cast<const float4*>(from + 4 * lane);
      *reinterpret_cast<float4*>(to + 4 * lane) = {v.x * n, v.y * n, v.z * n, v.w * n};
    }
    __syncwarp();
    if (i > u.heads) continue;
    const float* norm = i < u.heads ? a.q_norm : a.k_norm;
    if (norm != nullptr) norm_head(to, norm, a.epsilon, dim, lane);
    turn_head(to, a.step.cos, a.step.sin, u.token, a.shape.rotary_dims / 2, lane);
  }
}

// What the block's warps have gathered, put together: [head][dimension].
__device__ __forceinline__ void combine_warps(const Unit& u, int head_dim, Shared& shared) {
  for (int i = static_cast<int>(threadIdx.x); i < u.heads * head_dim; i += kThreads) {
    const int h = i / head_dim;
    const int dim = i % head_dim;
    float maximum = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      maximum = fmaxf(maximum, shared.gathered[w][h][kFastHeadDim]);
    }
    float sum = 0;
    float out = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* part = shared.gathered[w][h];
      const float keep = shrink(part[kFastHeadDim], maximum);
      sum += part[kFastHeadDim + 1] * keep;
      out += part[dim] * keep;
    }
    shared.part[h][dim] = out;
    if (dim == 0) {
      shared.part[h][kFastHeadDim] = maximum;
      shared.part[h][kFastHeadDim + 1] = sum;
    }
  }
}

// By a warp: 128 columns of the unit's heads, put together from the cluster's parts, as a block of
// the next product's input.
template <class PartOf>
__device__ __forceinline__ void store_block(const Arguments& a, const Unit& u, int index,
                                            const PartOf& part_of) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int column = index * kColumns + 4 * lane;
  const int h = column / a.shape.head_dim;
  const int dim = column % a.shape.head_dim;
  float maximum = -INFINITY;
  for (int s = 0; s < a.splits; ++s) maximum = fmaxf(maximum, part_of(s, h)[kFastHeadDim]);
  float sum = 0;
  float x[4] = {};
  for (int s = 0; s < a.splits; ++s) {
    const float* part = part_of(s, h);
    const float keep = shrink(part[kFastHeadDim], maximum);
    const float4 out = *reinterpret_cast<const float4*>(part + dim);
    sum += part[kFastHeadDim + 1] * keep;
    x[0] += out.x * keep, x[1] += out.y * keep, x[2] += out.z * keep, x[3] += out.w * keep;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = __fdiv_rn(x[i], sum);
  const int block = u.kv_head * (u.heads * a.shape.head_dim / kColumns) + index;
  if (a.to.signs != nullptr) {
    rotate_block(x, lane_signs(a.to.signs + block * (kColumns / 8), lane), lane);
  }
  store_tile(quantise_block(x, lane), a.to.tiled_rows, u.token, block, lane, a.to.q, a.to.scale);
}

// Rows of the cache on their way to the L2 cache, as many as will be read soon.
__device__ __forceinline__ void prefetch_rows(const CacheView& cache, int first, int last) {
  constexpr int kLine = 128;
  constexpr int kMost = 256;
  last = min(last, first + kMost);
  const int lines = static_cast<int>(cache.k_row + kLine - 1) / kLine;
  for (int i = static_cast<int>(threadIdx.x); i < (last - first) * lines; i += kThreads) {
    const int64_t row = cache.row(first + i / lines);
    prefetch_l2(cache.k + row * cache.k_row + i % lines * kLine);
    prefetch_l2(cache.v + row * cache.v_row + i % lines * kLine);
  }
}

// grid: x = kv heads times splits, y = tokens
__global__ void __launch_bounds__(kThreads, 4)
    attend_few_kernel(const __grid_constant__ Arguments a) {
  __shared__ __align__(16) Shared shared;
  namespace cg = cooperative_groups;
  let_next_begin();
  const Unit u = unit_of(a);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int position = a.step.positions[u.token];
  const CacheView cache = {reinterpret_cast<const uint8_t*>(a.cache.k),
                           reinterpret_cast<const uint8_t*>(a.cache.v),
                           a.step.pages + a.step.page_base[u.token],
                           a.shape.kv_heads,
                           u.kv_head,
                           a.row_bytes,
                           a.row_bytes};
  // Rows of earlier steps, which no kernel that still runs writes, before anybody is waited for.
  const int first = u.first + warp * kTilePositions;
  const bool early = first + kTilePositions <= position && first < u.last;
  HalfTile tile;
  if (early) load_tile(cache, first, u.last, a.shape.head_dim, tile);
  prefetch_rows(cache, u.first + kWarps * kTilePositions, min(u.last, position));
  wait_for_earlier();
  load_vectors(a, u, shared);
  __syncthreads();
  if (u.last == position + 1 && u.first < u.last && warp < 2) {
    uint8_t* rows = reinterpret_cast<uint8_t*>(warp == 0 ? a.cache.k : a.cache.v);
    const float* vector = shared.vectors[u.heads + warp];
    store_row(rows + cache.row(position) * a.row_bytes, KvType::kF16, a.shape.head_dim, lane,
              [&](int i) { return vector[i]; });
  }
  for (int i = static_cast<int>(threadIdx.x); i < kHalfSteps * kWarp; i += kThreads) {
    fill_query(shared.query, i, lane / 4 < u.heads ? shared.vectors[lane / 4] : nullptr,
               a.shape.head_dim);
  }
  __syncthreads();

  HalfGathered state;
  int next = first;
  if (early) {
    add_tile(tile, shared.query, first, u.last, a.shape.scale * 1.44269504f, state);
    next += kWarps * kTilePositions;
  }
  gather_halves(cache, shared.query, a.shape.scale, a.shape.head_dim, next, u.last,
                kWarps * kTilePositions, state);
  store_gathered(state, a.shape.scale, shared.gathered[warp][lane / 4]);
  __syncthreads();
  combine_warps(u, a.shape.head_dim, shared);
  const int blocks = u.heads * a.shape.head_dim / kColumns;
  if (a.splits == 1) {
    __syncthreads();
    for (int index = warp; index < blocks; index += kWarps) {
      store_block(a, u, index, [&](int, int h) -> const float* { return shared.part[h]; });
    }
    return;
  }
  cg::cluster_group cluster = cg::this_cluster();
  cluster.sync();
  for (int index = u.split + warp * a.splits; index < blocks; index += kWarps * a.splits) {
    store_block(a, u, index, [&](int s, int h) -> const float* {
      return cluster.map_shared_rank(&shared.part[h][0], static_cast<unsigned>(s));
    });
  }
  cluster.sync();  // nobody leaves while others read
}

}  // namespace

bool has_few_attention(const AttentionShape& shape, const KvLayer& cache) {
  const int heads = shape.heads / shape.kv_heads;
  return cache.k_type == KvType::kF16 && cache.v_type == KvType::kF16 &&
         has_fast_attention(shape.head_dim) && shape.head_dim % 4 == 0 &&
         kColumns % shape.head_dim == 0 && heads <= kTileHeads &&
         heads * shape.head_dim % kColumns == 0;
}

void attend_to_tiles(const float* qkv, const InputNorm& norm, const AttentionShape& shape,
                     const float* q_norm, const float* k_norm, float epsilon, const KvLayer& cache,
                     const StepView& step, int splits, const TileForm& to, cudaStream_t stream) {
  const Arguments a = {qkv,
                       norm,
                       shape,
                       q_norm,
                       k_norm,
                       epsilon,
                       cache,
                       step,
                       to,
                       splits,
                       int64_t{2} * shape.head_dim};
  const dim3 grid(static_cast<unsigned>(shape.kv_heads * splits),
                  static_cast<unsigned>(step.tokens));
  launch_clusters(attend_few_kernel, grid, kThreads, splits, stream, a);
}

}  // namespace upg::kernels::cuda
