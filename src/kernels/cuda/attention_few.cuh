// Attention of a step in which every sequence has one token, with all around it: rotary turn, the
// new row of the cache, attending, and the next product's input. What a token sees of one kv head
// is cut into items (few_plan.h), of which four warps take one; where there are several, the last
// of them to end puts their parts together, in their order.
//
// The cache is read at the memory's speed when enough of it is on its way at any time: each warp
// has slots in shared memory, to which bulk copies bring its next tiles. It asks for the first one
// before anybody has been waited for, since no kernel that still runs writes positions of earlier
// steps, and for others behind the queries: what is asked for before delays them.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/few.h"
#include "kernels/cuda/input_norm.cuh"
#include "kernels/cuda/wgmma.cuh"

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

// Slots of each warp are those of its next tiles, keys and values.
template <class Tiles, int kSlots>
struct TeamMemory {
  static constexpr int kSlotBytes = 2 * kTilePositions * Tiles::kMostRowBytes;
  // Then what the warps have gathered.
  alignas(128) uint8_t slots[kTeamWarps][kSlots * kSlotBytes];
  QueryTile query;
  float vectors[kTileHeads + 2][kFastHeadDim];          // heads' q, then k, v
  alignas(16) uint8_t newest[2][Tiles::kMostRowBytes];  // k and v as the cache has them
  uint64_t full[kTeamWarps][kSlots];                    // whether a tile is there
  int last;  // whether the item is the last of its kv head

  static_assert(kSlots * kSlotBytes >= kTileHeads * kPartFloats * sizeof(float));
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
    items = a.shape.kv_heads *
            attention_parts(attention_tiles(position, a.shape.window), a.plan.tiles_of(lane));
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
  item.parts = attention_parts(all, a.plan.tiles_of(item.token));
  item.kv_head = skipped / item.parts;
  item.part = skipped % item.parts;
  item.tiles = span_of(all.end - all.begin, item.part, item.parts);
  item.tiles.begin += all.begin;
  item.tiles.end += all.begin;
  return item;
}

// kSets: of heads that share a kv head.
template <class Tiles, int kSlots, int kSets>
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
    if (team.lane() == 0) {
      for (int i = 0; i < kSlots; ++i) barrier_init(&memory.full[team.warp()][i], 1);
      barriers_ready();
    }
    __syncwarp();
    ask(0);
    find_newest();
    clear_heads();
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
    return memory_.slots[team_.warp()] + index % kSlots * Memory::kSlotBytes;
  }
  __device__ __forceinline__ int tile_bytes() const { return kTilePositions * a_.row_bytes; }
  __device__ __forceinline__ bool has_newest() const { return item_.part + 1 == item_.parts; }
  // Of the tile.
  __device__ __forceinline__ SeenPlaces seen(int tile) const {
    const int window = a_.shape.window;
    const int begin = window > 0 ? item_.position - window + 1 : 0;
    return {begin - tile * kTilePositions, item_.position + 1 - tile * kTilePositions};
  }

  // Where the tile begins among the cache's rows.
  __device__ __forceinline__ int64_t first_row(int page, int tile) const {
    return (static_cast<int64_t>(page) * a_.shape.kv_heads + item_.kv_head) * kPageTokens +
           tile % kPageTiles * kTilePositions;
  }

  // The warp's tile `index`, in its turn.
  __device__ __forceinline__ void ask(int index) {
    if (index >= count_) return;
    if (index % kWarp == 0) {  // the pages of the warp's next tiles, a lane each
      const int ahead = min(tile(index + team_.lane()), item_.tiles.end - 1);
      pages_ = a_.step.pages[item_.page_base + ahead / kPageTiles];
    }
    const int page = __shfl_sync(kAllLanes, pages_, index % kWarp);
    if (team_.lane() != 0) return;
    const int64_t at = first_row(page, tile(index)) * a_.row_bytes;
    uint64_t* full = &memory_.full[team_.warp()][index % kSlots];
    barrier_expect(full, 2 * tile_bytes());
    copy_bulk(slot(index), a_.cache.k + at, tile_bytes(), full);
    copy_bulk(slot(index) + tile_bytes(), a_.cache.v + at, tile_bytes(), full);
  }

  // ---- vectors

  __device__ __forceinline__ void find_newest() {
    if (!has_newest()) return;
    const int tile = item_.position / kTilePositions;
    const int page = a_.step.pages[item_.page_base + tile / kPageTiles];
    newest_row_ = first_row(page, tile) + item_.position % kTilePositions;
  }

  // Queries of heads that there are not.
  __device__ __forceinline__ void clear_heads() {
    for (int i = team_.thread; i < kHalfSteps * kWarp; i += kTeamThreads) {
      if (i % kWarp / 4 >= heads_) memory_.query.part[i / kWarp][i % kWarp] = {0, 0, 0, 0};
    }
  }

  // q of the heads, and k and v where the item has the newest position, normed and turned: a warp
  // each. The warps' other first tiles are asked for behind them.
  __device__ __forceinline__ void load_vectors() {
    constexpr int kRounds = (kTileHeads + 2 + kTeamWarps - 1) / kTeamWarps;
    const int lane = team_.lane();
    const AttentionShape& shape = a_.shape;
    const int count = heads_ + (has_newest() ? 2 : 0);
    const float* from = a_.qkv + static_cast<int64_t>(item_.token) *
                                     (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    float4 vector[kRounds];
#pragma unroll
    for (int r = 0; r < kRounds; ++r) {
      const int i = team_.warp() + r * kTeamWarps;
      if (i >= count || 4 * lane >= shape.head_dim) continue;
      const int head = i < heads_ ? item_.kv_head * heads_ + i
                                  : shape.heads + item_.kv_head + (i - heads_) * shape.kv_heads;
      vector[r] = __ldcg(reinterpret_cast<const float4*>(from + head * shape.head_dim) + lane);
    }
    const HeadTurn turn(a_.step.cos, a_.step.sin, item_.token, shape.rotary_dims / 2, lane);
    const AskedNorm asked(a_.norm, item_.token, lane);
#pragma unroll
    for (int i = 1; i < kSlots; ++i) ask(i);
    const float norm = asked.get();
#pragma unroll
    for (int r = 0; r < kRounds; ++r) {
      const int i = team_.warp() + r * kTeamWarps;
      if (i >= count || 4 * lane >= shape.head_dim) continue;
      const float4& v = vector[r];
      reinterpret_cast<float4*>(memory_.vectors[i])[lane] = {v.x * norm, v.y * norm, v.z * norm,
                                                             v.w * norm};
    }
#pragma unroll 1
    for (int i = team_.warp(); i < count; i += kTeamWarps) set_vector(i, turn);
  }

  __device__ __forceinline__ void set_vector(int i, const HeadTurn& turn) {
    const int lane = team_.lane();
    float* vector = memory_.vectors[i];
    __syncwarp();
    if (i <= heads_) {
      const float* weight = i < heads_ ? a_.q_norm : a_.k_norm;
      if (weight != nullptr) norm_head(vector, weight, a_.epsilon, a_.shape.head_dim, lane);
      turn.apply(vector, lane);
    }
    if (i < heads_) {
      fill_query(memory_.query, lane / 4 * kWarp + 4 * i + lane % 4, vector, a_.shape.head_dim);
      return;
    }
    uint8_t* row = memory_.newest[i - heads_];
    store_row(row, Tiles::kType, a_.shape.head_dim, lane, [vector](int d) { return vector[d]; });
    __syncwarp();
    std::byte* cache = i == heads_ ? a_.cache.k : a_.cache.v;
    copy_row(reinterpret_cast<uint8_t*>(cache) + newest_row_ * a_.row_bytes, row);
  }

  __device__ __forceinline__ void copy_row(uint8_t* to, const uint8_t* from) const {
    for (int i = team_.lane(); i < a_.row_bytes / 2; i += kWarp) {
      reinterpret_cast<uint16_t*>(to)[i] = reinterpret_cast<const uint16_t*>(from)[i];
    }
  }

  // ---- attending

  __device__ __forceinline__ void gather() {
    const float factor = a_.shape.scale * 1.44269504f;
    const int newest = item_.position / kTilePositions;
    const SetQueries<kSets> queries(memory_.query);
    SetSums<kSets> sums;
#pragma unroll 1
    for (int i = 0; i < count_; ++i) {
      barrier_wait(&memory_.full[team_.warp()][i % kSlots], i / kSlots % 2);
      const SeenPlaces places = seen(tile(i));
      if (!places.all() || tile(i) == newest) complete(slot(i), places);
      Tiles::add(slot(i), slot(i) + tile_bytes(), a_.row_bytes, queries, places, factor, sums);
      __syncwarp();
      ask(i + kSlots);
    }
    store_sums<Tiles>(sums, a_.shape.scale,
                      [this](int head) { return memory_.gathered(team_.warp(), head); });
  }

  // bytes: even; none if negative.
  __device__ __forceinline__ void clear(uint8_t* at, int bytes) const {
    for (int i = team_.lane(); i < bytes / 2; i += kWarp) reinterpret_cast<uint16_t*>(at)[i] = 0;
  }

  // The newest position, which the cache had not when the tile was copied, and zeros for values
  // that are not seen: what lies there may be no number.
  __device__ __forceinline__ void complete(uint8_t* tile, const SeenPlaces& places) {
    uint8_t* values = tile + tile_bytes();
    const int newest = places.last - 1;
    if (newest < kTilePositions) {
      copy_row(tile + newest * a_.row_bytes, memory_.newest[0]);
      copy_row(values + newest * a_.row_bytes, memory_.newest[1]);
    }
    clear(values, places.first * a_.row_bytes);
    clear(values + places.last * a_.row_bytes, tile_bytes() - places.last * a_.row_bytes);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // before the slot's next copy
    __syncwarp();
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

  static constexpr int kPageTiles = kPageTokens / kTilePositions;

  const FewAttention& a_;
  AttentionItem item_;
  Team team_;
  Memory& memory_;
  int heads_;  // that share the kv head
  int count_;  // tiles of the warp
  int pages_ = 0;
  int64_t newest_row_ = 0;
};

}  // namespace upg::kernels::cuda
