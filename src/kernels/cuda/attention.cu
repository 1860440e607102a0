// Attention over the pages of the cache, the plain way: rotary turn, the writing of the cache, then
// a block for each token, kv head and part of the positions, and a second kernel where there are
// several parts.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_half.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

__device__ const int32_t* pages_of(const StepView& step, int token) {
  return step.pages + step.page_base[token];
}

// ---- rotary turn: a warp a head

// Angles in float32, as transformers computes them: at large positions a double would turn further.
__global__ void tables_kernel(const float* inv_freq, const int32_t* tables,
                              const int32_t* positions, int half, float* cos, float* sin) {
  const int token = static_cast<int>(blockIdx.x);
  const float* table = inv_freq + static_cast<int64_t>(tables[token]) * (half + 1);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += kThreads) {
    const float angle = static_cast<float>(positions[token]) * table[i];
    cos[static_cast<int64_t>(token) * half + i] = cosf(angle) * table[half];
    sin[static_cast<int64_t>(token) * half + i] = sinf(angle) * table[half];
  }
}

__global__ void rope_kernel(float* qkv, AttentionShape shape, const float* q_norm,
                            const float* k_norm, float epsilon, StepView step) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int h = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / kWarp);
  const int64_t token = blockIdx.y;
  if (h >= shape.heads + shape.kv_heads) return;
  float* head = qkv + token * (shape.heads + 2 * shape.kv_heads) * shape.head_dim +
                static_cast<int64_t>(h) * shape.head_dim;
  const float* norm = h < shape.heads ? q_norm : k_norm;
  if (norm != nullptr) norm_head(head, norm, epsilon, shape.head_dim, lane);
  turn_head(head, step.cos, step.sin, token, shape.rotary_dims / 2, lane);
}

// ---- the cache: a warp a row

__global__ void store_kernel(const float* qkv, AttentionShape shape, KvLayer cache, StepView step) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int index = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / kWarp);
  const int token = static_cast<int>(blockIdx.y);
  if (index >= 2 * shape.kv_heads) return;
  const bool is_v = index >= shape.kv_heads;
  const KvType type = is_v ? cache.v_type : cache.k_type;
  const int head = index % shape.kv_heads;
  const int position = step.positions[token];
  uint8_t* row = cache_row(cache, is_v, shape, pages_of(step, token), head, position);
  const int64_t width = static_cast<int64_t>(shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const float* x = qkv + token * width + static_cast<int64_t>(shape.heads + index) * shape.head_dim;
  store_row(row, type, shape.head_dim, lane, [&](int i) { return x[i]; });
}

// ---- attending

struct AttendArguments {
  float* out;  // [tokens, heads, head_dim], or parts
  const float* qkv;
  AttentionShape shape;
  KvLayer cache;
  StepView step;
  int splits;
  int64_t k_row;
  int64_t v_row;

  __device__ int64_t width() const {
    return static_cast<int64_t>(shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  }
  __device__ CacheView view(int token, int kv_head) const {
    return {reinterpret_cast<const uint8_t*>(cache.k),
            reinterpret_cast<const uint8_t*>(cache.v),
            pages_of(step, token),
            shape.kv_heads,
            kv_head,
            k_row,
            v_row};
  }
};

struct Range {
  int first;
  int last;
};

// The part of a token's positions that split `index` takes.
__device__ Range split_range(const AttendArguments& a, int token, int index) {
  const int position = a.step.positions[token];
  const int begin = a.shape.window > 0 ? max(0, position - a.shape.window + 1) : 0;
  const int count = position + 1 - begin;
  const int part = (count + a.splits - 1) / a.splits;
  const int first = min(begin + index * part, position + 1);
  return {first, min(first + part, position + 1)};
}

template <int kHeads>
struct Parts {
  float dims[kWarps][kHeads][kFastHeadDim + kPartExtra];
};

// grid: x = kv heads times chunks of heads that share one, y = tokens, z = splits
template <KvType kK, KvType kV, int kHeads>
__global__ void __launch_bounds__(kThreads) attend_kernel(const AttendArguments a) {
  __shared__ Parts<kHeads> parts;
  const int group = a.shape.heads / a.shape.kv_heads;
  const int chunks = (group + kHeads - 1) / kHeads;
  const int kv_head = static_cast<int>(blockIdx.x) / chunks;
  const int first_head = static_cast<int>(blockIdx.x) % chunks * kHeads;
  const int heads = min(kHeads, group - first_head);
  const int token = static_cast<int>(blockIdx.y);
  const int dim_count = a.shape.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int dim = lane % kHalfWarp * kLaneDims;
  const bool has_dims = dim < dim_count;
  const int64_t head_base = static_cast<int64_t>(kv_head) * group + first_head;

  float q[kHeads][kLaneDims];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) {
      q[h][i] = has_dims && h < heads
                    ? a.qkv[token * a.width() + (head_base + h) * dim_count + dim + i]
                    : 0.0f;
    }
  }
  Gathered<kHeads> state;
  clear(state);
  const Range range = split_range(a, token, static_cast<int>(blockIdx.z));
  gather<kK, kV, kHeads, 2>(a.view(token, kv_head), q, a.shape.scale, dim, has_dims,
                            range.first + static_cast<int>(threadIdx.x) / kHalfWarp, range.last,
                            2 * kWarps, state);
  merge_halves(state);
  if (lane < kHalfWarp) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float* part = parts.dims[warp][h];
      if (has_dims) {
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) part[dim + i] = state.out[h][i];
      }
      if (lane == 0) {
        part[dim_count] = state.maximum[h];
        part[dim_count + 1] = state.sum[h];
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < heads * dim_count; i += kThreads) {
    const int h = i / dim_count;
    float maximum = -INFINITY;
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, parts.dims[w][h][dim_count]);
    float sum = 0;
    float out = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float* part = parts.dims[w][h];
      const float keep = shrink(part[dim_count], maximum);
      sum += part[dim_count + 1] * keep;
      out += part[i % dim_count] * keep;
    }
    const int64_t head = token * static_cast<int64_t>(a.shape.heads) + head_base + h;
    if (a.splits == 1) {
      a.out[head * dim_count + i % dim_count] = __fdiv_rn(out, sum);
      continue;
    }
    float* to = a.out + (head * a.splits + blockIdx.z) * (dim_count + kPartExtra);
    to[i % dim_count] = out;
    if (i % dim_count == 0) {
      to[dim_count] = maximum;
      to[dim_count + 1] = sum;
    }
  }
}

// The same with an f16 cache, on the tensor cores. grid: likewise, chunks of kTileHeads.
constexpr int kHalfWarps = 8;
constexpr int kHalfThreads = kHalfWarps * kWarp;

struct HalfShared {
  QueryTile q;
  float gathered[kHalfWarps][kTileHeads][kPartFloats];
};

__global__ void __launch_bounds__(kHalfThreads, 2) attend_half_kernel(const AttendArguments a) {
  __shared__ __align__(16) HalfShared shared;
  const int group = a.shape.heads / a.shape.kv_heads;
  const int chunks = (group + kTileHeads - 1) / kTileHeads;
  const int kv_head = static_cast<int>(blockIdx.x) / chunks;
  const int first_head = static_cast<int>(blockIdx.x) % chunks * kTileHeads;
  const int heads = min(kTileHeads, group - first_head);
  const int token = static_cast<int>(blockIdx.y);
  const int dim_count = a.shape.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t head_base = static_cast<int64_t>(kv_head) * group + first_head;
  const float* q = a.qkv + token * a.width() + (head_base + lane / 4) * dim_count;
  static_assert(kHalfThreads == kHalfSteps * kWarp);
  fill_query(shared.q, static_cast<int>(threadIdx.x), lane / 4 < heads ? q : nullptr, dim_count);
  __syncthreads();

  HalfGathered state;
  const Range range = split_range(a, token, static_cast<int>(blockIdx.z));
  gather_halves(a.view(token, kv_head), shared.q, a.shape.scale, dim_count,
                range.first + warp * kTilePositions, range.last, kHalfWarps * kTilePositions,
                state);
  store_gathered(state, a.shape.scale, shared.gathered[warp][lane / 4]);
  __syncthreads();
  const int vectors = dim_count / 4;
  for (int i = static_cast<int>(threadIdx.x); i < heads * vectors; i += kHalfThreads) {
    const int h = i / vectors;
    const int dim = 4 * (i % vectors);
    const CombinedDims c = combine_dims(kHalfWarps, dim, [&](int from, int at) {
      return *reinterpret_cast<const float4*>(shared.gathered[from][h] + at);
    });
    const int64_t head = token * static_cast<int64_t>(a.shape.heads) + head_base + h;
    const bool whole = a.splits == 1;
    float* to = whole ? a.out + head * dim_count
                      : a.out + (head * a.splits + blockIdx.z) * (dim_count + kPartExtra);
#pragma unroll
    for (int d = 0; d < 4; ++d) to[dim + d] = whole ? __fdiv_rn(c.dims[d], c.sum) : c.dims[d];
    if (!whole && dim == 0) {
      to[dim_count] = c.maximum;
      to[dim_count + 1] = c.sum;
    }
  }
}

// Heads of any size: a warp a token and head, one position at a time.
constexpr int kAnyDims = 16;  // of a lane: head_dim up to 512

__device__ float load_value(const uint8_t* row, KvType type, int i) {
  if (type == KvType::kF32) return reinterpret_cast<const float*>(row)[i];
  if (type == KvType::kF16) return half_bits_to_float(reinterpret_cast<const uint16_t*>(row)[i]);
  const uint8_t* block = row + i / kQ8Values * kQ8Bytes;
  const float scale = half_bits_to_float(*reinterpret_cast<const uint16_t*>(block));
  return scale * static_cast<float>(static_cast<int8_t>(block[2 + i % kQ8Values]));
}

__global__ void attend_any_kernel(const AttendArguments a) {
  const int lane = static_cast<int>(threadIdx.x);
  const int head = static_cast<int>(blockIdx.x);
  const int token = static_cast<int>(blockIdx.y);
  const int dim_count = a.shape.head_dim;
  const CacheView cache = a.view(token, head / (a.shape.heads / a.shape.kv_heads));
  const float* q = a.qkv + token * a.width() + static_cast<int64_t>(head) * dim_count;
  float out[kAnyDims] = {};
  float maximum = -INFINITY;
  float sum = 0;
  const Range range = split_range(a, token, 0);
  for (int p = range.first; p < range.last; ++p) {
    const uint8_t* k = cache.k + cache.row(p) * a.k_row;
    const uint8_t* v = cache.v + cache.row(p) * a.v_row;
    float dot = 0;
    for (int i = lane; i < dim_count; i += kWarp) {
      dot = fmaf(q[i], load_value(k, a.cache.k_type, i), dot);
    }
    const float score = warp_sum(dot) * a.shape.scale;
    const float highest = fmaxf(maximum, score);
    const float keep = shrink(maximum, highest);
    const float weight = expf(score - highest);
    maximum = highest;
    sum = sum * keep + weight;
#pragma unroll
    for (int n = 0; n < kAnyDims; ++n) {
      const int i = lane + n * kWarp;
      if (i < dim_count) out[n] = out[n] * keep + weight * load_value(v, a.cache.v_type, i);
    }
  }
  float* to = a.out + (token * static_cast<int64_t>(a.shape.heads) + head) * dim_count;
#pragma unroll
  for (int n = 0; n < kAnyDims; ++n) {
    const int i = lane + n * kWarp;
    if (i < dim_count) to[i] = __fdiv_rn(out[n], sum);
  }
}

__global__ void combine_kernel(float* out, const float* parts, int head_dim, int splits) {
  const int64_t head = blockIdx.x;
  const int stride = head_dim + kPartExtra;
  for (int dim = static_cast<int>(threadIdx.x); dim < head_dim; dim += kThreads) {
    float maximum;
    float sum;
    const float value =
        combine(parts + head * splits * stride, stride, splits, head_dim, dim, maximum, sum);
    out[head * head_dim + dim] = __fdiv_rn(value, sum);
  }
}

// ---- which instance

template <KvType kK, KvType kV>
void launch(const AttendArguments& a, cudaStream_t stream) {
  const int group = a.shape.heads / a.shape.kv_heads;
  const auto tokens = static_cast<unsigned>(a.step.tokens);
  const auto splits = static_cast<unsigned>(a.splits);
  if (group == 1) {
    const dim3 grid(static_cast<unsigned>(a.shape.kv_heads), tokens, splits);
    attend_kernel<kK, kV, 1><<<grid, kThreads, 0, stream>>>(a);
  } else {
    const auto chunks = static_cast<unsigned>((group + 3) / 4);
    const dim3 grid(static_cast<unsigned>(a.shape.kv_heads) * chunks, tokens, splits);
    attend_kernel<kK, kV, 4><<<grid, kThreads, 0, stream>>>(a);
  }
}

template <KvType kK>
void launch_k(const AttendArguments& a, cudaStream_t stream) {
  if (a.cache.v_type == KvType::kF32) return launch<kK, KvType::kF32>(a, stream);
  if (a.cache.v_type == KvType::kF16) return launch<kK, KvType::kF16>(a, stream);
  return launch<kK, KvType::kQ8>(a, stream);
}

void launch_half(const AttendArguments& a, cudaStream_t stream) {
  const int chunks = (a.shape.heads / a.shape.kv_heads + kTileHeads - 1) / kTileHeads;
  const dim3 grid(static_cast<unsigned>(a.shape.kv_heads * chunks),
                  static_cast<unsigned>(a.step.tokens), static_cast<unsigned>(a.splits));
  attend_half_kernel<<<grid, kHalfThreads, 0, stream>>>(a);
}

void launch_any(const AttendArguments& a, cudaStream_t stream) {
  if (!has_fast_attention(a.shape.head_dim)) {
    const dim3 grid(static_cast<unsigned>(a.shape.heads), static_cast<unsigned>(a.step.tokens));
    return attend_any_kernel<<<grid, kWarp, 0, stream>>>(a);
  }
  if (a.cache.k_type == KvType::kF16 && a.cache.v_type == KvType::kF16) {
    return launch_half(a, stream);
  }
  if (a.cache.k_type == KvType::kF32) return launch_k<KvType::kF32>(a, stream);
  if (a.cache.k_type == KvType::kF16) return launch_k<KvType::kF16>(a, stream);
  return launch_k<KvType::kQ8>(a, stream);
}

dim3 warp_grid(int rows, int tokens) {
  return dim3(static_cast<unsigned>((rows + kWarps - 1) / kWarps), static_cast<unsigned>(tokens));
}

}  // namespace

void rope_tables(const float* inv_freq, const int32_t* tables, const int32_t* positions, int tokens,
                 int half, float* cos, float* sin, cudaStream_t stream) {
  tables_kernel<<<static_cast<unsigned>(tokens), kThreads, 0, stream>>>(inv_freq, tables, positions,
                                                                        half, cos, sin);
}

void rope(float* qkv, const AttentionShape& shape, const float* q_norm, const float* k_norm,
          float epsilon, const StepView& step, cudaStream_t stream) {
  rope_kernel<<<warp_grid(shape.heads + shape.kv_heads, step.tokens), kThreads, 0, stream>>>(
      qkv, shape, q_norm, k_norm, epsilon, step);
}

void store_kv(const float* qkv, const AttentionShape& shape, const KvLayer& cache,
              const StepView& step, cudaStream_t stream) {
  store_kernel<<<warp_grid(2 * shape.kv_heads, step.tokens), kThreads, 0, stream>>>(qkv, shape,
                                                                                    cache, step);
}

void attend(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache,
            const StepView& step, int splits, float* partials, cudaStream_t stream) {
  AttendArguments a = {splits > 1 ? partials : out, qkv, shape, cache, step, splits, 0, 0};
  a.k_row = static_cast<int64_t>(kv_row_bytes(cache.k_type, shape.head_dim));
  a.v_row = static_cast<int64_t>(kv_row_bytes(cache.v_type, shape.head_dim));
  launch_any(a, stream);
  if (splits == 1) return;
  combine_kernel<<<static_cast<unsigned>(step.tokens * shape.heads), kThreads, 0, stream>>>(
      out, partials, shape.head_dim, splits);
}

}  // namespace upg::kernels::cuda
