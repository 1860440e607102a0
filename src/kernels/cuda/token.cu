// A whole token in one launch (token_program.h says how). The order of every sum is fixed by the
// shape and the number of multiprocessors: the same bits on every run.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/codes.cuh"
#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/token.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = kTokenWarps * kWarp;  // that compute
constexpr int kHalves = 2 * kTokenWarps;

// ---- shared memory: barriers, descriptions, rotary tables, partial sums, activations, ring

struct Shared {
  uint64_t full[64];
  uint64_t empty[64];
  uint64_t phase_full[kPhaseEntries];
  uint64_t phase_empty[kPhaseEntries];
  TokenPhase phases[kPhaseEntries];
  float cos[kMaxHalfRotary];
  float sin[kMaxHalfRotary];
  float sums[kTokenWarps];
  int32_t is_last;
};

struct Memory {
  Shared* shared;
  float* partial;
  uint8_t* act;  // blocks of kBlockStride bytes, then scales, then sums
  uint8_t* ring;
};

__device__ __forceinline__ Memory memory_of(uint8_t* base, const TokenArguments& a) {
  uint8_t* partial = base + (sizeof(Shared) + 127) / 128 * 128;
  uint8_t* act = partial + a.partial_bytes;
  return {reinterpret_cast<Shared*>(base), reinterpret_cast<float*>(partial), act,
          act + a.act_bytes};
}

// The computing warps alone.
__device__ __forceinline__ void sync() { named_barrier(1, kThreads); }

// ---- the grid's barrier

class GridBarrier {
 public:
  __device__ GridBarrier(uint32_t* counter, uint32_t base) : counter_(counter), target_(base) {}
  // What the block wrote before is visible to whoever waited. After sync().
  __device__ __forceinline__ void arrive() {
    target_ += gridDim.x;
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(counter_, 1u);
    }
  }
  __device__ __forceinline__ void wait() {
    if (threadIdx.x == 0) {
      while (static_cast<int32_t>(load_acquire(counter_) - target_) < 0) {
      }
    }
    sync();
  }

 private:
  uint32_t* counter_;
  uint32_t target_;
};

// ---- the producer

struct Where {
  const TokenPart* part;
  int group;  // of the part
};

// The row group of an item; stream 1: of the up half of a pair.
__device__ __forceinline__ Where locate(const TokenPhase& phase, int item, int stream) {
  if (phase.output == TokenOutput::kGated) {
    if (phase.parts == 2) return {&phase.part[stream], item};
    return {&phase.part[0], item + stream * phase.items};
  }
  int p = 0;
  while (p + 1 < phase.parts && item >= phase.part[p + 1].first_group) ++p;
  return {&phase.part[p], item - phase.part[p].first_group};
}

__device__ __forceinline__ int streams_of(const TokenPhase& phase) {
  return phase.output == TokenOutput::kGated ? 2 : 1;
}

constexpr int kProducerLanes = 8;

struct Producer {
  const TokenArguments& a;
  const Memory& m;
  RingCursor cursor;
  uint64_t policy;
  int lane;

  __device__ void describe(int phase) {
    if (phase >= a.phase_count) return;
    const int entry = phase % kPhaseEntries;
    wait_parity(&m.shared->phase_empty[entry], (phase / kPhaseEntries & 1) ^ 1);
    constexpr int kVectors = sizeof(TokenPhase) / 16;
    const auto* from = reinterpret_cast<const uint4*>(a.phases + phase);
    auto* to = reinterpret_cast<uint4*>(&m.shared->phases[entry]);
    for (int i = lane; i < kVectors; i += kWarp) to[i] = from[i];
    __syncwarp();
    if (lane == 0) arrive(&m.shared->phase_full[entry]);
  }

  // The block's tiles, some at a time, a lane each: what a tile takes to be found and asked for
  // would else be the limit. A turn waits for the last of its slots.
  __device__ void stream(const TokenPhase& phase) {
    const Share share =
        share_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    const int tiles = phase.tiles;
    const int tile_blocks = phase.tile_blocks;
    const int blocks = phase.blocks;
    const int per_item = tiles * streams_of(phase);
    const int count = (share.end - share.begin) * per_item;
    RingCursor mine = cursor;
    mine.advance(lane, a.slots);
    for (int begin = 0; begin < count; begin += kProducerLanes) {
      const int n = begin + lane;
      if (lane < kProducerLanes && n < count) {
        const int t = n % per_item;
        const Where where = locate(phase, share.begin + n / per_item, t / tiles);
        const int block_bytes = 64 * vectors_of(where.part->kind);
        const int first = t % tiles * tile_blocks;
        const auto bytes = static_cast<uint32_t>(min(tile_blocks, blocks - first) * block_bytes);
        const uint8_t* codes =
            where.part->codes +
            (static_cast<int64_t>(where.group) * blocks + first) * block_bytes;
        uint64_t* full = &m.shared->full[mine.slot];
        wait_parity(&m.shared->empty[mine.slot], mine.parity ^ 1);
        expect_bytes(full, bytes);
        bulk_copy(m.ring + mine.slot * kSlotBytes, codes, bytes, full, policy);
        mine.advance(kProducerLanes, a.slots);
      }
      __syncwarp();
    }
    cursor.advance(count, a.slots);
  }

  __device__ void run() {
    constexpr int kAhead = 2;
    for (int phase = 0; phase < kAhead; ++phase) describe(phase);
    for (int phase = 0; phase < a.phase_count; ++phase) {
      describe(phase + kAhead);
      stream(m.shared->phases[phase % kPhaseEntries]);
    }
  }
};

// ---- a tile: four rows of some blocks, one warp

struct TileDot {
  const uint8_t* tile;
  const uint8_t* act;  // of the tile's first block
  const float* scale;
  const int32_t* sum;
  int blocks;
  int lane;
  const Palette& palette;
  float& result;

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void operator()() const {
    constexpr int kVectors = vectors_of(kKind);
    const Palette local = palette;
    float total = 0;
    for (int block = lane / 4; block < blocks; block += kWarp / 4) {
      uint32_t words[kVectors][4];
      load_words<kVectors>(tile + block * kVectors * 64 + lane % 4 * 16, words);
      const auto* q = reinterpret_cast<const uint4*>(act + block * kBlockStride);
      const int dot = dot_block<kKind, kTwo>(words, local, q, sum[block]);
      total = __fadd_rn(total, __fmul_rn(static_cast<float>(dot), scale[block]));
    }
#pragma unroll
    for (int mask = 4; mask < kWarp; mask *= 2) total += __shfl_xor_sync(kAllLanes, total, mask);
    result = total;
  }
};

// ---- the computing warps

struct Consumer {
  const TokenArguments& a;
  const Memory& m;
  GridBarrier grid;
  RingCursor cursor;  // of the phase's first tile
  int phase_index;
  int lane;
  int warp;

  __device__ __forceinline__ float* act_scale(int blocks) const {
    return reinterpret_cast<float*>(m.act + blocks * kBlockStride);
  }
  __device__ __forceinline__ int32_t* act_sum(int blocks) const {
    return reinterpret_cast<int32_t*>(act_scale(blocks) + blocks);
  }

  __device__ const TokenPhase& begin_phase() {
    const int entry = phase_index % kPhaseEntries;
    wait_parity(&m.shared->phase_full[entry], phase_index / kPhaseEntries & 1);
    return m.shared->phases[entry];
  }
  __device__ void end_phase() {
    __syncwarp();
    if (lane == 0) arrive(&m.shared->phase_empty[phase_index % kPhaseEntries]);
    ++phase_index;
  }

  __device__ void embed() {
    const int64_t cols = a.embedding.cols;
    for (int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; c < cols;
         c += static_cast<int64_t>(gridDim.x) * kThreads) {
      a.x[c] = weight_at(a.embedding, a.id, c);
    }
    sync();
    grid.arrive();
  }

  // ---- activations of a product, by every block for itself

  __device__ void prepare_floats(const TokenPhase& phase) {
    const int cols = phase.cols;
    const bool normed = phase.input == TokenInput::kNormed;
    float4 weight[kInputBlocks];
    uint32_t signs[kInputBlocks];
#pragma unroll
    for (int i = 0; i < kInputBlocks; ++i) {
      const int block = warp + i * kTokenWarps;
      const int column = block * kColumns + 4 * lane;
      weight[i] = {1, 1, 1, 1};
      signs[i] = 0;
      if (column >= cols) continue;
      if (normed) weight[i] = *reinterpret_cast<const float4*>(phase.norm + column);
    }
#pragma unroll
    for (int i = 0; i < kInputBlocks; ++i) {
      const int block = warp + i * kTokenWarps;
      if (block < phase.blocks && phase.signs != nullptr) {
        signs[i] = lane_signs(phase.signs + block * (kColumns / 8), lane);
      }
    }
    grid.wait();
    float4 x[kInputBlocks];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kInputBlocks; ++i) {
      const int column = (warp + i * kTokenWarps) * kColumns + 4 * lane;
      x[i] = {0, 0, 0, 0};
      if (column < cols) x[i] = __ldcg(reinterpret_cast<const float4*>(phase.source + column));
    }
    float factor = 1;
    if (normed) {
#pragma unroll
      for (int i = 0; i < kInputBlocks; ++i) {
        squares += x[i].x * x[i].x + x[i].y * x[i].y + x[i].z * x[i].z + x[i].w * x[i].w;
      }
      squares = warp_sum(squares);
      if (lane == 0) m.shared->sums[warp] = squares;
      sync();
      float total = 0;
#pragma unroll
      for (int w = 0; w < kTokenWarps; ++w) total += m.shared->sums[w];
      factor = __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(total, static_cast<float>(cols)) + a.epsilon));
    }
#pragma unroll
    for (int i = 0; i < kInputBlocks; ++i) {
      const int block = warp + i * kTokenWarps;
      if (block >= phase.blocks) break;
      float values[4] = {x[i].x * factor * weight[i].x, x[i].y * factor * weight[i].y,
                         x[i].z * factor * weight[i].z, x[i].w * factor * weight[i].w};
      if (phase.signs != nullptr) rotate_block(values, signs[i], lane);
      const QuantisedLane q = quantise_block(values, lane);
      auto* words = reinterpret_cast<uint32_t*>(m.act + block * kBlockStride);
      words[permuted_word(lane)] = q.word;
      if (lane == 0) {
        act_scale(phase.blocks)[block] = q.scale;
        act_sum(phase.blocks)[block] = q.sum;
      }
    }
  }

  __device__ void copy_gated(const TokenPhase& phase) {
    grid.wait();
    const auto* q = reinterpret_cast<const uint4*>(a.gated_q);
    for (int i = static_cast<int>(threadIdx.x); i < 8 * phase.blocks; i += kThreads) {
      *reinterpret_cast<uint4*>(m.act + i / 8 * kBlockStride + i % 8 * 16) = __ldcg(q + i);
    }
    for (int i = static_cast<int>(threadIdx.x); i < phase.blocks; i += kThreads) {
      act_scale(phase.blocks)[i] = __ldcg(a.gated_scale + i);
      act_sum(phase.blocks)[i] = __ldcg(a.gated_sum + i);
    }
  }

  // ---- the block's tiles, a warp each in turn

  __device__ void multiply_tiles(const TokenPhase& phase, const Share& share, int count) {
    const int tiles = phase.tiles;
    const int tile_blocks = phase.tile_blocks;
    const int blocks = phase.blocks;
    const int per_item = tiles * streams_of(phase);
    const float* scale = act_scale(blocks);
    const int32_t* sum = act_sum(blocks);
    RingCursor at = cursor;
    at.advance(warp, a.slots);
    for (int n = warp; n < count; n += kTokenWarps) {
      const int t = n % per_item;
      const TokenPart& part = *locate(phase, share.begin + n / per_item, t / tiles).part;
      const int first = t % tiles * tile_blocks;
      float result = 0;
      wait_parity(&m.shared->full[at.slot], at.parity);
      dispatch_kind(part.kind, part.two_palettes != 0,
                    TileDot{m.ring + at.slot * kSlotBytes, m.act + first * kBlockStride,
                            scale + first, sum + first, min(tile_blocks, blocks - first), lane,
                            part.palette, result});
      __syncwarp();
      if (lane == 0) arrive(&m.shared->empty[at.slot]);
      if (lane < 4) m.partial[n * 4 + lane] = result;
      at.advance(kTokenWarps, a.slots);
    }
    cursor.advance(count, a.slots);
  }

  // ---- what becomes of the sums: thread i takes row i % 4 of item i / 4

  struct RowRef {
    float factor;
    float bias;
    int row;  // of the product's output; -1 past the last
  };

  __device__ __forceinline__ RowRef row_of(const TokenPhase& phase, int item, int stream, int r) {
    const Where where = locate(phase, item, stream);
    const int row = where.group * 4 + r;
    if (row >= where.part->rows) return {0, 0, -1};
    const float divisor = where.part->kind == Kind::kInt8 ? 127.0f : 63.0f;
    return {__fdiv_rn(where.part->scale[row], divisor),
            where.part->bias != nullptr ? where.part->bias[row] : 0.0f,
            where.part->first_row + row};
  }

  __device__ __forceinline__ float total(const TokenPhase& phase, int local_item, int stream,
                                         int r) const {
    const float* partial =
        m.partial + (local_item * streams_of(phase) + stream) * phase.tiles * 4 + r;
    float sum = 0;
    for (int t = 0; t < phase.tiles; ++t) sum += partial[4 * t];
    return sum;
  }

  struct RowPlan {
    RowRef first;
    RowRef second;  // kGated: of up
    float before;   // kAdd: what is there
  };

  __device__ __forceinline__ RowPlan plan_row(const TokenPhase& phase, const Share& share, int i) {
    const int item = share.begin + i / 4;
    RowPlan plan = {{0, 0, -1}, {0, 0, -1}, 0};
    if (item >= share.end) return plan;
    plan.first = row_of(phase, item, 0, i % 4);
    if (phase.output == TokenOutput::kGated) plan.second = row_of(phase, item, 1, i % 4);
    if (phase.output == TokenOutput::kAdd && plan.first.row >= 0) {
      plan.before = __ldcg(phase.target + plan.first.row);
    }
    return plan;
  }

  __device__ __forceinline__ void finish_row(const TokenPhase& phase, const RowPlan& plan, int i) {
    if (plan.first.row < 0) return;
    float value = total(phase, i / 4, 0, i % 4) * plan.first.factor + plan.first.bias;
    if (phase.output == TokenOutput::kGated) {
      const float up = total(phase, i / 4, 1, i % 4) * plan.second.factor + plan.second.bias;
      value = __fdiv_rn(value, 1.0f + expf(-value)) * up;
    }
    phase.target[plan.first.row] = plan.before + value;
  }

  // The block that completes 128 columns of the gated vector prepares them for `down`.
  __device__ void quantise_gated(const TokenPhase& phase, const Share& share) {
    sync();
    const int columns = 4 * phase.items;
    const int begin = 4 * share.begin;
    const int end = 4 * share.end;
    for (int block = begin / kColumns + warp; block * kColumns < end; block += kTokenWarps) {
      const int first = block * kColumns;
      const int mine = min(end, first + kColumns) - max(begin, first);
      const int whole = min(kColumns, columns - first);
      if (mine <= 0) continue;
      int last = 0;
      if (lane == 0) {
        __threadfence();
        last =
            static_cast<int>(atomicAdd(a.gated_done + block, static_cast<uint32_t>(mine))) + mine ==
            whole;
        __threadfence();
      }
      if (__shfl_sync(kAllLanes, last, 0) == 0) continue;
      if (lane == 0) a.gated_done[block] = 0;
      float4 x = {0, 0, 0, 0};
      if (first + 4 * lane < columns) {
        x = __ldcg(reinterpret_cast<const float4*>(phase.target + first) + lane);
      }
      float values[4] = {x.x, x.y, x.z, x.w};
      if (phase.gated_signs != nullptr) {
        rotate_block(values, lane_signs(phase.gated_signs + block * (kColumns / 8), lane), lane);
      }
      const QuantisedLane q = quantise_block(values, lane);
      reinterpret_cast<uint32_t*>(a.gated_q)[block * kWarp + permuted_word(lane)] = q.word;
      if (lane == 0) {
        a.gated_scale[block] = q.scale;
        a.gated_sum[block] = q.sum;
      }
    }
  }

  __device__ void product(const TokenPhase& phase) {
    const Share share =
        share_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    const int items = share.end - share.begin;
    const int count = items * phase.tiles * streams_of(phase);
    const int i = static_cast<int>(threadIdx.x);
    const RowPlan plan = phase.output == TokenOutput::kAdd ? RowPlan{} : plan_row(phase, share, i);
    if (phase.input == TokenInput::kQuantised) {
      copy_gated(phase);
    } else {
      prepare_floats(phase);
    }
    const RowPlan added = phase.output == TokenOutput::kAdd ? plan_row(phase, share, i) : plan;
    sync();
    multiply_tiles(phase, share, count);
    sync();
    if (i < 4 * items) finish_row(phase, added, i);
    for (int more = i + kThreads; more < 4 * items; more += kThreads) {
      finish_row(phase, plan_row(phase, share, more), more);
    }
    if (phase.output == TokenOutput::kGated) quantise_gated(phase, share);
    sync();
    grid.arrive();
  }

  // ---- attention: a block takes one kv head (up to four of its heads) and a part of the positions

  template <KvType kType>
  __device__ void attend(const TokenPhase& phase) {
    const int group = a.heads / a.kv_heads;
    const int chunks = (group + kTokenHeads - 1) / kTokenHeads;
    const int units = a.kv_heads * chunks;
    const int unit = static_cast<int>(blockIdx.x) % units;
    const int split = static_cast<int>(blockIdx.x) / units;
    grid.wait();
    if (split < a.splits) attend_part<kType>(phase, unit, split, group, chunks);
    sync();
    grid.arrive();
  }

  // Vectors of the unit in shared memory: its heads' q, then k, v; normed and turned.
  __device__ void load_vectors(const TokenPhase& phase, float* vectors, int first_head, int heads,
                               int kv_head) {
    const int dim = a.head_dim;
    if (warp >= kTokenHeads + 2) return;
    const bool is_q = warp < kTokenHeads;
    if (is_q && warp >= heads) return;
    int from = is_q ? first_head + warp : a.heads + kv_head;
    if (warp == kTokenHeads + 1) from += a.kv_heads;
    float* to = vectors + warp * kFastHeadDim;
    float squares = 0;
    for (int i = lane; i < dim; i += kWarp) {
      const float value = __ldcg(a.qkv + static_cast<int64_t>(from) * dim + i);
      squares = fmaf(value, value, squares);
      to[i] = value;
    }
    if (warp > kTokenHeads) return;
    const float* norm = is_q ? phase.q_norm : phase.k_norm;
    if (norm != nullptr) {
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

  template <KvType kType>
  __device__ void attend_part(const TokenPhase& phase, int unit, int split, int group, int chunks) {
    const int dim_count = a.head_dim;
    const int kv_head = unit / chunks;
    const int first_head = kv_head * group + unit % chunks * kTokenHeads;
    const int heads = min(kTokenHeads, group - unit % chunks * kTokenHeads);
    auto* vectors = reinterpret_cast<float*>(m.act);
    float* gathered = vectors + (kTokenHeads + 2) * kFastHeadDim;
    load_vectors(phase, vectors, first_head, heads, kv_head);
    sync();

    const int begin = phase.window > 0 ? max(0, a.position - phase.window + 1) : 0;
    const int part = (a.position + 1 - begin + a.splits - 1) / a.splits;
    const int first = min(begin + split * part, a.position + 1);
    const int last = min(first + part, a.position + 1);
    const CacheView cache = {phase.k, phase.v, a.pages, a.kv_heads, kv_head, a.k_row, a.v_row};
    if (last == a.position + 1 && first < last) {  // the part of the new position
      // Chunks of one kv head write the same row with the same bits.
      if (warp == 0 || warp == 1) {
        const float* vector = vectors + (kTokenHeads + warp) * kFastHeadDim;
        uint8_t* row = (warp == 0 ? phase.k : phase.v) +
                       cache.row(a.position) * (warp == 0 ? a.k_row : a.v_row);
        store_row(row, kType, dim_count, lane, [&](int i) { return vector[i]; });
      }
      __threadfence_block();
    }
    sync();

    const int dim = lane % kHalfWarp * kLaneDims;
    const bool has_dims = dim < dim_count;
    float q[kTokenHeads][kLaneDims];
#pragma unroll
    for (int h = 0; h < kTokenHeads; ++h) {
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) {
        q[h][i] = has_dims && h < heads ? vectors[h * kFastHeadDim + dim + i] : 0.0f;
      }
    }
    Gathered<kTokenHeads> state;
    clear(state);
    gather<kType, kType, kTokenHeads>(cache, q, a.scale, dim, has_dims,
                                      first + static_cast<int>(threadIdx.x) / kHalfWarp, last,
                                      kHalves, state);
    merge_halves(state);
    const int stride = kFastHeadDim + kPartExtra;
    if (lane < kHalfWarp) {
#pragma unroll
      for (int h = 0; h < kTokenHeads; ++h) {
        float* to = gathered + (warp * kTokenHeads + h) * stride;
        if (has_dims) {
#pragma unroll
          for (int i = 0; i < kLaneDims; ++i) to[dim + i] = state.out[h][i];
        }
        if (lane == 0) {
          to[dim_count] = state.maximum[h];
          to[dim_count + 1] = state.sum[h];
        }
      }
    }
    sync();
    float* parts =
        a.parts + static_cast<int64_t>(unit) * kTokenHeads * a.splits * (dim_count + kPartExtra);
    for (int i = static_cast<int>(threadIdx.x); i < heads * dim_count; i += kThreads) {
      const int h = i / dim_count;
      const int d = i % dim_count;
      float maximum = -INFINITY;
      for (int w = 0; w < kTokenWarps; ++w) {
        maximum = fmaxf(maximum, gathered[(w * kTokenHeads + h) * stride + dim_count]);
      }
      float sum = 0;
      float out = 0;
      for (int w = 0; w < kTokenWarps; ++w) {
        const float* from = gathered + (w * kTokenHeads + h) * stride;
        const float keep = shrink(from[dim_count], maximum);
        sum += from[dim_count + 1] * keep;
        out += from[d] * keep;
      }
      if (a.splits == 1) {
        a.attended[static_cast<int64_t>(first_head + h) * dim_count + d] = __fdiv_rn(out, sum);
        continue;
      }
      float* to = parts + (static_cast<int64_t>(h) * a.splits + split) * (dim_count + kPartExtra);
      to[d] = out;
      if (d == 0) {
        to[dim_count] = maximum;
        to[dim_count + 1] = sum;
      }
    }
    if (a.splits > 1) combine_parts(parts, unit, first_head, heads);
  }

  // The block that ends last puts the parts of its unit together.
  __device__ void combine_parts(const float* parts, int unit, int first_head, int heads) {
    sync();
    if (threadIdx.x == 0) {
      __threadfence();
      const bool last = atomicAdd(a.unit_done + unit, 1u) + 1 == static_cast<uint32_t>(a.splits);
      if (last) a.unit_done[unit] = 0;
      m.shared->is_last = last;
      __threadfence();
    }
    sync();
    if (m.shared->is_last == 0) return;
    const int stride = a.head_dim + kPartExtra;
    for (int i = static_cast<int>(threadIdx.x); i < heads * a.head_dim; i += kThreads) {
      const int h = i / a.head_dim;
      const int d = i % a.head_dim;
      float maximum;
      float sum;
      const float out = combine(parts + static_cast<int64_t>(h) * a.splits * stride, stride,
                                a.splits, a.head_dim, d, maximum, sum);
      a.attended[static_cast<int64_t>(first_head + h) * a.head_dim + d] = __fdiv_rn(out, sum);
    }
  }

  template <KvType kType>
  __device__ void run() {
    if (a.first_phase_is_embedding != 0) {
      embed();
    } else {
      grid.arrive();  // so that every phase has one to wait for
    }
    while (phase_index < a.phase_count) {
      const TokenPhase& phase = begin_phase();
      product(phase);
      if (phase.k != nullptr) attend<kType>(phase);
      end_phase();
    }
  }
};

template <KvType kType>
__global__ void __launch_bounds__(kTokenThreads, 1)
    token_kernel(const __grid_constant__ TokenArguments a) {
  extern __shared__ __align__(128) uint8_t base[];
  const Memory m = memory_of(base, a);
  if (threadIdx.x == 0) {
    for (int i = 0; i < a.slots; ++i) {
      init_barrier(&m.shared->full[i], 1);
      init_barrier(&m.shared->empty[i], 1);
    }
    for (int i = 0; i < kPhaseEntries; ++i) {
      init_barrier(&m.shared->phase_full[i], 1);
      init_barrier(&m.shared->phase_empty[i], kTokenWarps);
    }
    fence_barriers();
  }
  if (threadIdx.x < kMaxHalfRotary) {
    m.shared->cos[threadIdx.x] = a.cos[threadIdx.x];
    m.shared->sin[threadIdx.x] = a.sin[threadIdx.x];
  }
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp == kTokenWarps) {
    Producer{a, m, {0, 0}, streaming_policy(), lane}.run();
  } else {
    Consumer{a, m, GridBarrier(a.barrier, a.barrier_base), {0, 0}, 0, lane, warp}
        .template run<kType>();
  }
}

template <KvType kType>
cudaError_t launch(const TokenArguments& a, int grid, int shared_bytes, cudaStream_t stream) {
  const auto kernel = token_kernel<kType>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (status != cudaSuccess) return status;
  void* arguments[] = {const_cast<TokenArguments*>(&a)};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel),
                                     dim3(static_cast<unsigned>(grid)), dim3(kTokenThreads),
                                     arguments, static_cast<size_t>(shared_bytes), stream);
}

}  // namespace

int token_fixed_shared_bytes() noexcept {
  return static_cast<int>((sizeof(Shared) + 127) / 128 * 128);
}

cudaError_t launch_token(const TokenArguments& a, KvType type, int grid, cudaStream_t stream) {
  const int shared =
      token_fixed_shared_bytes() + a.partial_bytes + a.act_bytes + a.slots * kSlotBytes;
  switch (type) {
    case KvType::kF32:
      return launch<KvType::kF32>(a, grid, shared, stream);
    case KvType::kF16:
      return launch<KvType::kF16>(a, grid, shared, stream);
    case KvType::kQ8:
      return launch<KvType::kQ8>(a, grid, shared, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace upg::kernels::cuda
