// Attention of many tokens of one sequence on the tensor cores (flash attention, Dao 2023): a warp
// takes sixteen tokens of one head, the warps of a block share the keys and values of a kv head.
//
// The cache is f16; queries and weights are float32, each as the sum of two halves, so that
// products keep 22 bits and agree with the other kernels.
#include "kernels/cuda/attention_half.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ring.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kTile = 16;  // tokens of a warp
constexpr int kKeys = 64;  // of a step
constexpr int kDim = 128;  // of a head at most; fewer are filled up with zeros
constexpr int kRowBytes = 2 * kDim;
constexpr int kTileBytes = kKeys * kRowBytes;  // keys or values of a step
constexpr int kSteps = kDim / 16;
constexpr int kKeyTiles = kKeys / 8;
constexpr int kSharedBytes = 4 * kTileBytes;  // keys and values, twice

struct Arguments {
  float* out;                // [tokens, q_width]
  const float* qkv;          // [tokens, qkv_width]
  const int32_t* positions;  // [tokens], one after the other
  const int32_t* pages;      // of the sequence
  const uint8_t* k;
  const uint8_t* v;
  AttentionShape shape;
  int tokens;
};

template <bool kTransposed>
__device__ __forceinline__ void load_matrices(const uint8_t* at, uint32_t (&m)[4]) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address));
  }
}

// 16-byte vector `vector` of row `row` of a tile: swizzled, so that eight rows meet no bank twice.
__device__ __forceinline__ int place(int row, int vector) {
  return row * kRowBytes + (vector ^ (row & 7)) * 16;
}

// Keys first ... first + kKeys - 1, zeros past `last`.
__device__ __forceinline__ void ask(const Arguments& a, int kv_head, int first, int last,
                                    uint8_t* k, uint8_t* v) {
  constexpr int kVectors = kRowBytes / 16;
  const int64_t row_bytes = 2 * a.shape.head_dim;
#pragma unroll
  for (int n = 0; n < kKeys * kVectors / kThreads; ++n) {
    const int i = static_cast<int>(threadIdx.x) + n * kThreads;
    const int row = i / kVectors;
    const int vector = i % kVectors;
    const int position = first + row;
    const bool there = position <= last && 8 * vector < a.shape.head_dim;
    int64_t at = 0;
    if (there) {
      const int64_t page = a.pages[position / kPageTokens];
      at =
          ((page * a.shape.kv_heads + kv_head) * kPageTokens + position % kPageTokens) * row_bytes +
          16 * vector;
    }
    copy_vector_or_zero(k + place(row, vector), a.k + at, there);
    copy_vector_or_zero(v + place(row, vector), a.v + at, there);
  }
  close_copies();
}

struct Queries {
  uint32_t high[kSteps][4];
  uint32_t low[kSteps][4];
};

// q: of the lane's upper and lower token.
__device__ __forceinline__ void load_queries(const float* const (&q)[2], int head_dim, int lane,
                                             Queries& out) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int dim = 16 * step + 8 * (i / 2) + lane % 4 * 2;
      float2 x = {0, 0};
      if (dim < head_dim) x = *reinterpret_cast<const float2*>(q[i % 2] + dim);
      split_halves(x.x, x.y, out.high[step][i], out.low[step][i]);
    }
  }
}

__device__ __forceinline__ void score(const Queries& q, const uint8_t* k, int lane,
                                      float (&scores)[kKeyTiles][4]) {
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[tile][i] = 0;
#pragma unroll
    for (int step = 0; step < kSteps; step += 2) {
      uint32_t m[4];
      load_matrices<false>(k + place(8 * tile + lane % 8, 2 * step + lane / 8), m);
      mma_halves(scores[tile], q.high[step], m[0], m[1]);
      mma_halves(scores[tile], q.low[step], m[0], m[1]);
      mma_halves(scores[tile], q.high[step + 1], m[2], m[3]);
      mma_halves(scores[tile], q.low[step + 1], m[2], m[3]);
    }
  }
}

struct Softmax {
  float maximum[2];
  float sum[2];   // of this lane's keys
  float keep[2];  // what earlier sums are multiplied by
};

// Scores become weights. factor: of scores, times log2(e).
__device__ __forceinline__ void weigh(float (&scores)[kKeyTiles][4], float factor, Softmax& s) {
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    float highest = s.maximum[e];
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
      highest = fmaxf(highest, fmaxf(scores[tile][2 * e], scores[tile][2 * e + 1]));
    }
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, mask));
    }
    const float base = highest == -INFINITY ? 0.0f : highest * factor;
    s.keep[e] = exp2f(fmaf(s.maximum[e], factor, -base));
    s.maximum[e] = highest;
    float sum = 0;
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& x = scores[tile][2 * e + c];
        x = exp2f(fmaf(x, factor, -base));
        sum += x;
      }
    }
    s.sum[e] = fmaf(s.sum[e], s.keep[e], sum);
  }
}

__device__ __forceinline__ void add_values(const float (&weights)[kKeyTiles][4],
                                           const float (&keep)[2], const uint8_t* v, int lane,
                                           float (&out)[kDimTiles][4]) {
  constexpr int kValueSteps = kKeys / 16;
  constexpr int kAtOnce = 4;
  uint32_t high[kValueSteps][4];
  uint32_t low[kValueSteps][4];
#pragma unroll
  for (int step = 0; step < kValueSteps; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&w)[4] = weights[2 * step + i / 2];
      split_halves(w[i % 2 * 2], w[i % 2 * 2 + 1], high[step][i], low[step][i]);
    }
  }
#pragma unroll
  for (int first = 0; first < kDimTiles; first += kAtOnce) {
    float part[kAtOnce][4] = {};
#pragma unroll
    for (int step = 0; step < kValueSteps; ++step) {
#pragma unroll
      for (int t = 0; t < kAtOnce; t += 2) {
        uint32_t m[4];
        load_matrices<true>(v + place(16 * step + lane % 16, first + t + lane / 16), m);
        mma_halves(part[t], high[step], m[0], m[1]);
        mma_halves(part[t + 1], high[step], m[2], m[3]);
        mma_halves(part[t], low[step], m[0], m[1]);
        mma_halves(part[t + 1], low[step], m[2], m[3]);
      }
    }
#pragma unroll
    for (int t = 0; t < kAtOnce; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[first + t][i] = fmaf(out[first + t][i], keep[i / 2], part[t][i]);
      }
    }
  }
}

// Scores of keys that a token does not see.
__device__ __forceinline__ void hide(const int (&position)[2], int window, int first, int lane,
                                     float (&scores)[kKeyTiles][4]) {
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int behind = position[i / 2] - (first + 8 * tile + lane % 4 * 2 + i % 2);
      if (behind < 0 || (window > 0 && behind >= window)) scores[tile][i] = -INFINITY;
    }
  }
}

// grid: x = tiles of tokens, the last ones first: they see most; y = kv heads times chunks of heads
template <int kHeads>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(const Arguments a) {
  constexpr int kTokens = kWarps / kHeads * kTile;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int dim_count = a.shape.head_dim;
  const int group = a.shape.heads / a.shape.kv_heads;
  const int chunks = (group + kHeads - 1) / kHeads;
  const int kv_head = static_cast<int>(blockIdx.y) / chunks;
  const int in_group = static_cast<int>(blockIdx.y) % chunks * kHeads + warp % kHeads;
  const bool active = in_group < group;
  const int head = kv_head * group + (active ? in_group : 0);
  const int first_token = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kTokens;
  const int last_token = min(first_token + kTokens, a.tokens) - 1;

  int token[2];
  int position[2];
  const float* q[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    token[e] = first_token + warp / kHeads * kTile + lane / 4 + 8 * e;
    const int there = min(token[e], last_token);
    position[e] = a.positions[there];
    q[e] = a.qkv +
           static_cast<int64_t>(there) * (a.shape.heads + 2 * a.shape.kv_heads) * dim_count +
           static_cast<int64_t>(head) * dim_count;
  }
  const int last = a.positions[last_token];
  const int oldest = a.shape.window > 0 ? a.positions[first_token] - a.shape.window + 1 : 0;
  const int begin = max(0, oldest) / kKeys * kKeys;

  const auto buffer = [&](int n) { return shared + n % 2 * (2 * kTileBytes); };
  ask(a, kv_head, begin, last, buffer(0), buffer(0) + kTileBytes);
  Queries queries;
  load_queries(q, dim_count, lane, queries);
  float out[kDimTiles][4] = {};
  Softmax softmax = {{-INFINITY, -INFINITY}, {}, {}};
  const float factor = a.shape.scale * 1.44269504f;
  int n = 0;
  for (int first = begin; first <= last; first += kKeys, ++n) {
    if (first + kKeys <= last) {
      ask(a, kv_head, first + kKeys, last, buffer(n + 1), buffer(n + 1) + kTileBytes);
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    __syncthreads();
    if (active) {
      float scores[kKeyTiles][4];
      score(queries, buffer(n), lane, scores);
      hide(position, a.shape.window, first, lane, scores);
      weigh(scores, factor, softmax);
      add_values(scores, softmax.keep, buffer(n) + kTileBytes, lane, out);
    }
    __syncthreads();
  }
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    float sum = softmax.sum[e];
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    if (!active || token[e] > last_token) continue;
    float* to = a.out + (static_cast<int64_t>(token[e]) * a.shape.heads + head) * dim_count;
#pragma unroll
    for (int tile = 0; tile < kDimTiles; ++tile) {
      const int dim = 8 * tile + lane % 4 * 2;
      if (dim >= dim_count) break;
      *reinterpret_cast<float2*>(to + dim) =
          float2{__fdiv_rn(out[tile][2 * e], sum), __fdiv_rn(out[tile][2 * e + 1], sum)};
    }
  }
}

template <int kHeads>
void launch(const Arguments& a, cudaStream_t stream) {
  constexpr int kTokens = kWarps / kHeads * kTile;
  const int chunks = (a.shape.heads / a.shape.kv_heads + kHeads - 1) / kHeads;
  const dim3 grid(static_cast<unsigned>((a.tokens + kTokens - 1) / kTokens),
                  static_cast<unsigned>(a.shape.kv_heads * chunks));
  const auto kernel = prompt_kernel<kHeads>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(a);
}

}  // namespace

void attend_prompt(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache,
                   const int32_t* positions, const int32_t* pages, int tokens,
                   cudaStream_t stream) {
  const Arguments a = {.out = out,
                       .qkv = qkv,
                       .positions = positions,
                       .pages = pages,
                       .k = reinterpret_cast<const uint8_t*>(cache.k),
                       .v = reinterpret_cast<const uint8_t*>(cache.v),
                       .shape = shape,
                       .tokens = tokens};
  if (shape.heads == shape.kv_heads) return launch<1>(a, stream);
  launch<4>(a, stream);
}

}  // namespace upg::kernels::cuda
