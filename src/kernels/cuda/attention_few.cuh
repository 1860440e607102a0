// Attention of a step in which every sequence has one token, with all around it: rotary turn, the
// new row of the cache, attending, and the next product's input. What a token sees of one kv head
// is cut into items (few_plan.h), of which four warps take one; where there are several, the last
// of them to end puts their parts together, in their order.
//
// The cache is read at the memory's speed when enough of it is on its way at any time: each warp
// has slots in shared memory for its next tiles, and asks for the first ones before anybody has
// been waited for, since no kernel that still runs writes positions of earlier steps.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/few.h"
#include "kernels/cuda/input_norm.cuh"

namespace upg::kernels::cuda {

constexpr int kTeamWarps = 4;
constexpr int kTeamThreads = kTeamWarps * kWarp;
static_assert(kMostFewInputs <= kWarp && kAttentionTile == kTilePositions);

// Four warps that take an item.
struct Team {
  int thread;   // of kTeamThreads
  int barrier;  // of the block's sixteen

  __device__ __forceinline__ int lane() const { return thread % kWarp; }
  __device__ __forceinline__ int warp() const { return thread / kWarp; }
  __device__ __forceinline__ void sync() const {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kTeamThreads) : "memory");
  }
};

template <class Tiles, int kSlots>
struct TeamMemory {
  // Then what the warps have gathered.
  alignas(128) uint8_t slots[kTeamWarps][kSlots * Tiles::kBytes];
  QueryTile query;
  float vectors[kTileHeads + 2][kFastHeadDim];  // heads' q, then k, v
  int last;                                     // whether the item is the last of its kv head

  static_assert(kSlots * Tiles::kBytes >= kTileHeads * kPartFloats * sizeof(float));
  __device__ __forceinline__ float* gathered(int warp, int head) {
    return reinterpret_cast<float*>(slots[warp]) + head * kPartFloats;
  }
};

struct AttentionItem {
  int index;  // of all items
  int token;
  int kv_head;
  int part;
  int parts;
  int position;   // of the token
  int page_base;  // likewise
  Span tiles;
};

// By a whole warp: a lane a token.
__device__ __forceinline__ AttentionItem attention_item(const FewAttention& a, int index) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int position = 0;
  int page_base = 0;
  int items = 0;
  if (lane < a.step.tokens) {
    position = a.step.positions[lane];
    page_base = a.step.page_base[lane];
    items =
        a.shape.kv_heads * attention_parts(attention_tiles(position, a.shape.window), a.item_tiles);
  }
  int end = items;
#pragma unroll
  for (int span = 1; span < kWarp; span *= 2) {
    const int before = __shfl_up_sync(kAllLanes, end, span);
    if (lane >= span) end += before;
  }
  AttentionItem item;
  item.index = index;
  item.token = __popc(__ballot_sync(kAllLanes, end <= index));
  const int skipped = index - __shfl_sync(kAllLanes, end - items, item.token);
  item.position = __shfl_sync(kAllLanes, position, item.token);
  item.page_base = __shfl_sync(kAllLanes, page_base, item.token);
  const Span all = attention_tiles(item.position, a.shape.window);
  item.parts = attention_parts(all, a.item_tiles);
  item.kv_head = skipped / item.parts;
  item.part = skipped % item.parts;
  item.tiles = span_of(all.end - all.begin, item.part, item.parts);
  item.tiles.begin += all.begin;
  item.tiles.end += all.begin;
  return item;
}

template <class Tiles, int kSlots>
class ItemAttention {
 public:
  using Memory = TeamMemory<Tiles, kSlots>;

  // Asks for the first tiles.
  __device__ __forceinline__ ItemAttention(const FewAttention& a, int index, const Team& team,
                                           Memory& memory)
      : a_(a), item_(attention_item(a, index)), team_(team), memory_(memory) {
    heads_ = a.shape.heads / a.shape.kv_heads;
    const int tiles = item_.tiles.end - item_.tiles.begin;
    count_ = (tiles - team.warp() + kTeamWarps - 1) / kTeamWarps;
#pragma unroll
    for (int i = 0; i < kSlots; ++i) ask(i);
  }

  // When qkv is there.
  __device__ __forceinline__ void run() {
    load_vectors();
    team_.sync();
    gather();
    team_.sync();
    if (item_.parts == 1) {
      return store_blocks(kTeamWarps, [this](int warp, int head, int i) {
        return *reinterpret_cast<const float4*>(memory_.gathered(warp, head) + i);
      });
    }
    store_part();
    if (!is_last()) return;
    const float* parts =
        a_.parts + static_cast<int64_t>(item_.index - item_.part) * heads_ * kPartFloats;
    store_blocks(item_.parts, [this, parts](int part, int head, int i) {
      return __ldcg(
          reinterpret_cast<const float4*>(parts + (part * heads_ + head) * kPartFloats + i));
    });
  }

 private:
  __device__ __forceinline__ int tile(int index) const {
    return item_.tiles.begin + team_.warp() + index * kTeamWarps;
  }
  __device__ __forceinline__ uint8_t* slot(int index) const {
    return memory_.slots[team_.warp()] + index % kSlots * Tiles::kBytes;
  }
  __device__ __forceinline__ bool has_newest() const { return item_.part + 1 == item_.parts; }
  // Of the tile: the positions that the token sees, up to `end`.
  __device__ __forceinline__ SeenPlaces seen(int tile, int end) const {
    const int window = a_.shape.window;
    const int begin = window > 0 ? item_.position - window + 1 : 0;
    return {begin - tile * kTilePositions, end - tile * kTilePositions};
  }

  // Row 0 of the warp's tile `index` among the cache's rows.
  __device__ __forceinline__ int64_t first_row(int page, int tile) const {
    constexpr int kPageTiles = kPageTokens / kTilePositions;
    return (static_cast<int64_t>(page) * a_.shape.kv_heads + item_.kv_head) * kPageTokens +
           tile % kPageTiles * kTilePositions;
  }

  // Every call closes a group of copies.
  __device__ __forceinline__ void ask(int index) {
    constexpr int kPageTiles = kPageTokens / kTilePositions;
    if (index < count_) {
      if (index % kWarp == 0) {  // the pages of the warp's next tiles, a lane each
        const int ahead = min(tile(index + team_.lane()), item_.tiles.end - 1);
        pages_ = a_.step.pages[item_.page_base + ahead / kPageTiles];
      }
      const int page = __shfl_sync(kAllLanes, pages_, index % kWarp);
      const int64_t at = first_row(page, tile(index)) * a_.row_bytes;
      Tiles::ask(slot(index), reinterpret_cast<const uint8_t*>(a_.cache.k) + at,
                 reinterpret_cast<const uint8_t*>(a_.cache.v) + at, a_.shape.head_dim,
                 seen(tile(index), item_.position));
    }
    close_copies();
  }

  // q of the heads, and k and v where the item has the newest position, normed and turned: a warp
  // each.
  __device__ __forceinline__ void load_vectors() {
    constexpr int kRounds = (kTileHeads + 2 + kTeamWarps - 1) / kTeamWarps;
    const int lane = team_.lane();
    const int count = heads_ + (has_newest() ? 2 : 0);
    const float* from = a_.qkv + static_cast<int64_t>(item_.token) *
                                     (a_.shape.heads + 2 * a_.shape.kv_heads) * a_.shape.head_dim;
    float4 vector[kRounds];
#pragma unroll
    for (int r = 0; r < kRounds; ++r) {
      const int i = team_.warp() + r * kTeamWarps;
      vector[r] = {0, 0, 0, 0};
      if (i < count && 4 * lane < a_.shape.head_dim) {
        const int head = i < heads_
                             ? item_.kv_head * heads_ + i
                             : a_.shape.heads + item_.kv_head + (i - heads_) * a_.shape.kv_heads;
        vector[r] = __ldcg(reinterpret_cast<const float4*>(from + head * a_.shape.head_dim) + lane);
      }
    }
    const HeadTurn turn(a_.step.cos, a_.step.sin, item_.token, a_.shape.rotary_dims / 2, lane);
    const float norm = norm_of(a_.norm, item_.token, lane);
#pragma unroll
    for (int r = 0; r < kRounds; ++r) {
      const int i = team_.warp() + r * kTeamWarps;
      const float4 v = {vector[r].x * norm, vector[r].y * norm, vector[r].z * norm,
                        vector[r].w * norm};
      if (i < count) set_vector(i, v, turn);
      if (i < kTileHeads) {
        const int at = lane / 4 * kWarp + 4 * i + lane % 4;
        fill_query(memory_.query, at, i < heads_ ? memory_.vectors[i] : nullptr, a_.shape.head_dim);
      }
    }
  }

  __device__ __forceinline__ void set_vector(int i, const float4& v, const HeadTurn& turn) {
    const int lane = team_.lane();
    float* to = memory_.vectors[i];
    *reinterpret_cast<float4*>(to + 4 * lane) = v;
    __syncwarp();
    if (i <= heads_) {
      const float* weight = i < heads_ ? a_.q_norm : a_.k_norm;
      if (weight != nullptr) norm_head(to, weight, a_.epsilon, a_.shape.head_dim, lane);
      turn.apply(to, lane);
    }
    if (i < heads_) return;
    constexpr int kPageTiles = kPageTokens / kTilePositions;
    const int tile = item_.position / kTilePositions;
    const int page = a_.step.pages[item_.page_base + tile / kPageTiles];
    std::byte* rows = i == heads_ ? a_.cache.k : a_.cache.v;
    auto* row = reinterpret_cast<uint8_t*>(
        rows + (first_row(page, tile) + item_.position % kTilePositions) * a_.row_bytes);
    store_row(row, a_.cache.k_type, a_.shape.head_dim, lane, [to](int d) { return to[d]; });
  }

  __device__ __forceinline__ void gather() {
    const float factor = a_.shape.scale * 1.44269504f;
    const int newest = has_newest() ? item_.position / kTilePositions : -1;
    HalfGathered state;
#pragma unroll 1
    for (int i = 0; i < count_; ++i) {
      wait_copies<kSlots - 1>();
      __syncwarp();
      if (tile(i) == newest) {
        Tiles::put(slot(i), memory_.vectors[heads_], memory_.vectors[heads_ + 1],
                   item_.position % kTilePositions, a_.shape.head_dim);
        __syncwarp();
      }
      Tiles::add(slot(i), memory_.query, a_.shape.head_dim, seen(tile(i), item_.position + 1),
                 factor, state);
      __syncwarp();
      ask(i + kSlots);
    }
    sum_lanes(state);
    Tiles::store(state, a_.shape.scale, memory_.gathered(team_.warp(), team_.lane() / 4));
  }

  // ---- putting parts together

  // What the item's warps have gathered.
  __device__ __forceinline__ void store_part() {
    float* to = a_.parts + static_cast<int64_t>(item_.index) * heads_ * kPartFloats;
    const int vectors = a_.shape.head_dim / 4;
    for (int i = team_.thread; i < heads_ * vectors; i += kTeamThreads) {
      const int head = i / vectors;
      const int dim = 4 * (i % vectors);
      const CombinedDims c = combine_dims(kTeamWarps, dim, [&](int warp, int at) {
        return *reinterpret_cast<const float4*>(memory_.gathered(warp, head) + at);
      });
      auto* part = reinterpret_cast<float4*>(to + head * kPartFloats);
      __stcg(part + dim / 4, float4{c.dims[0], c.dims[1], c.dims[2], c.dims[3]});
      if (dim == 0) __stcg(part + kFastHeadDim / 4, float4{c.maximum, c.sum, 0, 0});
    }
  }

  // After store_part(): whether the parts of all items of the kv head are there.
  __device__ __forceinline__ bool is_last() {
    team_.sync();
    if (team_.thread == 0) {
      int* counter = a_.counters + item_.token * a_.shape.kv_heads + item_.kv_head;
      int before;
      asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], 1;"
                   : "=r"(before)
                   : "l"(counter)
                   : "memory");
      memory_.last = before + 1 == item_.parts ? 1 : 0;
      if (memory_.last != 0) *counter = 0;
    }
    team_.sync();
    return memory_.last != 0;
  }

  // By a warp 128 columns of the heads, as a block of the next product's input.
  template <class Read>
  __device__ __forceinline__ void store_blocks(int parts, const Read& read) {
    const int lane = team_.lane();
    const int blocks = heads_ * a_.shape.head_dim / kColumns;
    for (int i = team_.warp(); i < blocks; i += kTeamWarps) {
      const int column = i * kColumns + 4 * lane;
      const int head = column / a_.shape.head_dim;
      const int block = item_.kv_head * blocks + i;
      uint32_t signs = 0;
      if (a_.to.signs != nullptr) signs = lane_signs(a_.to.signs + block * (kColumns / 8), lane);
      CombinedDims c = combine_dims(parts, column % a_.shape.head_dim,
                                    [&](int part, int at) { return read(part, head, at); });
#pragma unroll
      for (int d = 0; d < 4; ++d) c.dims[d] = __fdiv_rn(c.dims[d], c.sum);
      if (a_.to.signs != nullptr) rotate_block(c.dims, signs, lane);
      store_tile(quantise_block(c.dims, lane), a_.to.tiled_rows, item_.token, block, lane, a_.to.q,
                 a_.to.scale);
    }
  }

  const FewAttention& a_;
  AttentionItem item_;
  Team team_;
  Memory& memory_;
  int heads_;  // that share the kv head
  int count_;  // tiles of the warp
  int pages_ = 0;
};

}  // namespace upg::kernels::cuda
