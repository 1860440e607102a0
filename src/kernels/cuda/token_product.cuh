// A product in the token kernel: its input prepared by every block for itself, the block's tiles,
// and what becomes of the sums.
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/codes.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

// ---- inputs

// Up to kRounds blocks a warp, side by side so that one's latencies hide behind the other's.
template <int kRounds>
__device__ __forceinline__ void prepare_floats(const TokenArguments& a, const Memory& m,
                                               GridBarrier& grid, const TokenPhase& phase) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int cols = phase.cols;
  const bool normed = phase.input == TokenInput::kNormed;
  const bool rotated = phase.signs != nullptr;
  grid.wait();
  float x[kRounds][4];
  float4 weight[kRounds];
  uint32_t signs[kRounds];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int block = warp + i * kTokenWarps;
    const int column = block * kColumns + 4 * lane;
    float4 v = {0, 0, 0, 0};
    weight[i] = {1, 1, 1, 1};
    signs[i] = 0;
    if (column < cols) {
      v = __ldcg(reinterpret_cast<const float4*>(phase.source + column));
      if (normed) weight[i] = *reinterpret_cast<const float4*>(phase.norm + column);
    }
    if (rotated && block < phase.blocks) {
      signs[i] = lane_signs(phase.signs + block * (kColumns / 8), lane);
    }
    x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
  }
  if (normed) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) squares = fmaf(x[i][k], x[i][k], squares);
    }
    squares = warp_sum(squares);
    if (lane == 0) m.shared->sums[warp] = squares;
    sync();
    const float total = warp_sum(lane < kTokenWarps ? m.shared->sums[lane] : 0.0f);
    const float mean = __fdiv_rn(total, static_cast<float>(cols));
    const float factor = __fdiv_rn(1.0f, __fsqrt_rn(mean + a.epsilon));
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      x[i][0] *= factor * weight[i].x;
      x[i][1] *= factor * weight[i].y;
      x[i][2] *= factor * weight[i].z;
      x[i][3] *= factor * weight[i].w;
    }
  }
  if (rotated) rotate_blocks<kRounds>(x, signs, lane);
  QuantisedLane q[kRounds];
  quantise_blocks<kRounds>(x, lane, q);
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int block = warp + i * kTokenWarps;
    if (block >= phase.blocks) break;
    auto* words = reinterpret_cast<uint32_t*>(m.act + block * kBlockStride);
    words[permuted_word(lane)] = q[i].word;
    if (lane == 0) {
      m.act_scale(phase.blocks)[block] = q[i].scale;
      m.act_sum(phase.blocks)[block] = q[i].sum;
    }
  }
}

__device__ __forceinline__ void copy_gated(const TokenArguments& a, const Memory& m,
                                           GridBarrier& grid, const TokenPhase& phase) {
  grid.wait();
  const auto* q = reinterpret_cast<const uint4*>(a.gated_q);
  for (int i = static_cast<int>(threadIdx.x); i < 8 * phase.blocks; i += kComputing) {
    *reinterpret_cast<uint4*>(m.act + i / 8 * kBlockStride + i % 8 * 16) = __ldcg(q + i);
  }
  for (int i = static_cast<int>(threadIdx.x); i < phase.blocks; i += kComputing) {
    m.act_scale(phase.blocks)[i] = __ldcg(a.gated_scale + i);
    m.act_sum(phase.blocks)[i] = __ldcg(a.gated_sum + i);
  }
}

// ---- tiles: four rows and a part of their blocks, a warp each. Warp w of a block takes tiles w,
// w + kTokenWarps, ... of it. A lane has one row of every eighth block.

struct Tile {
  const TokenPart* part;
  int group;
  int first;   // block
  int blocks;  // of it
};

__device__ __forceinline__ int tile_count(const TokenPhase& phase) {
  return (phase.end - phase.begin) * phase.tiles * streams_of(phase);
}

__device__ __forceinline__ Tile tile_of(const TokenPhase& phase, int n) {
  const auto tiles = static_cast<unsigned>(phase.tiles);
  const auto per_item = tiles * static_cast<unsigned>(streams_of(phase));
  const unsigned item = static_cast<unsigned>(n) / per_item;
  const unsigned t = static_cast<unsigned>(n) - item * per_item;
  const bool second = t >= tiles;
  const Where where = locate(phase, phase.begin + static_cast<int>(item), second ? 1 : 0);
  const int first = static_cast<int>(second ? t - tiles : t) * phase.tile_blocks;
  return {where.part, where.group, first, min(phase.tile_blocks, phase.blocks - first)};
}

// What a lane asks for: its share of the warp's chunks, one after the other through all its tiles.
// Every ask() closes a group of copies, an empty one past the last chunk.
struct Asking {
  const TokenPhase* phase;
  uint8_t* slots;     // the lane's place in the warp's slots
  const uint8_t* at;  // the lane's next vector
  int vectors;
  int left;  // blocks of the tile
  int next;  // tile
  int count;
  int slot;

  __device__ __forceinline__ void begin(const Memory& m, const TokenPhase& described) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    phase = &described;
    slots = m.slots + warp * (kSlots * kSlotBytes) + lane * 16;
    at = nullptr;
    vectors = 0;
    left = 0;
    next = warp;
    count = tile_count(described);
    slot = 0;
    ask();
  }

  // All but one slot are asked for. After begin(), when nobody waits for this warp.
  __device__ __forceinline__ void fill() {
#pragma unroll 1
    for (int i = 2; i < kSlots; ++i) ask();
  }

  __device__ __forceinline__ void begin_tile() {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const Tile tile = tile_of(*phase, next);
    vectors = vectors_of(tile.part->kind);
    const int64_t block = static_cast<int64_t>(tile.group) * phase->blocks + tile.first + lane / 4;
    at = tile.part->codes + block * (64 * vectors) + lane % 4 * 16;
    left = tile.blocks;
    next += kTokenWarps;
  }

  __device__ __forceinline__ void ask() {
    if (left <= 0 && next < count) begin_tile();
    if (static_cast<int>(threadIdx.x) % kWarp / 4 < left) {
      uint8_t* to = slots + slot * kSlotBytes;
#pragma unroll
      for (int v = 0; v < kSlotVectors; ++v) {
        if (v < vectors) copy_vector(to + v * (kWarp * 16), at + 64 * v);
      }
    }
    at += kChunk * 64 * vectors;
    left -= kChunk;
    slot = slot + 1 == kSlots ? 0 : slot + 1;
    close_copies();
  }
};

struct TileDot {
  const Memory& m;
  const TokenPhase& phase;
  const Tile& tile;
  Asking& asking;
  int& slot;  // of the next chunk
  float& result;

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void operator()() const {
    if constexpr (vectors_of(kKind) <= kSlotVectors) run<kKind, kTwo>();
  }

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void run() const {
    constexpr int kVectors = vectors_of(kKind);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const Palette palette = tile.part->palette;
    const float row_scale = __ldg(tile.part->scale + 4 * tile.group + lane % 4);
    int block = tile.first + lane / 4;
    const float* scale = m.act_scale(phase.blocks);
    const int32_t* sum = m.act_sum(phase.blocks);
    const int end = tile.first + tile.blocks;
    float total = 0;
    for (int left = tile.blocks; left > 0; left -= kChunk, block += kChunk) {
      asking.ask();
      wait_copies<kSlots - 1>();
      if (block < end) {
        uint32_t words[kVectors][4];
        const uint8_t* from = asking.slots + slot * kSlotBytes;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          const uint4 vector = *reinterpret_cast<const uint4*>(from + v * (kWarp * 16));
          words[v][0] = vector.x, words[v][1] = vector.y;
          words[v][2] = vector.z, words[v][3] = vector.w;
        }
        const auto* q = reinterpret_cast<const uint4*>(m.act + block * kBlockStride);
        const int dot = dot_block<kKind, kTwo>(words, palette, q, sum[block]);
        total = __fadd_rn(total, __fmul_rn(static_cast<float>(dot), scale[block]));
      }
      slot = slot + 1 == kSlots ? 0 : slot + 1;
    }
#pragma unroll
    for (int mask = 4; mask < kWarp; mask *= 2) total += __shfl_xor_sync(kAllLanes, total, mask);
    result = __fmul_rn(total, row_factor<kKind>(row_scale));
  }
};

// asking: has begun with this phase.
__device__ __forceinline__ void multiply_tiles(const Memory& m, const TokenPhase& phase,
                                               Asking& asking) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int count = tile_count(phase);
  int slot = 0;
  for (int n = static_cast<int>(threadIdx.x) / kWarp; n < count; n += kTokenWarps) {
    const Tile tile = tile_of(phase, n);
    float result = 0;
    dispatch_kind(tile.part->kind, tile.part->two_palettes != 0,
                  TileDot{m, phase, tile, asking, slot, result});
    if (lane < 4) m.partial[n * 4 + lane] = result;
  }
}

// ---- what becomes of the sums: thread i takes row i % 4 of item i / 4

struct RowRef {
  float bias;
  int row;  // of the product's output; -1 past the last
};

__device__ __forceinline__ RowRef row_of(const TokenPhase& phase, int item, int stream, int r) {
  const Where where = locate(phase, item, stream);
  const int row = where.group * 4 + r;
  if (row >= where.part->rows) return {0, -1};
  return {where.part->bias != nullptr ? where.part->bias[row] : 0.0f, where.part->first_row + row};
}

__device__ __forceinline__ float row_sum(const Memory& m, const TokenPhase& phase, int local_item,
                                         int stream, int r) {
  const float* partial =
      m.partial + (local_item * streams_of(phase) + stream) * phase.tiles * 4 + r;
  float sum = 0;
#pragma unroll 1
  for (int t = 0; t < phase.tiles; ++t) sum += partial[4 * t];
  return sum;
}

// before: of kAdd, what is there; a row is always the same block's.
__device__ __forceinline__ void finish_row(const Memory& m, const TokenPhase& phase,
                                           const Share& share, int i, float before) {
  const RowRef row = row_of(phase, share.begin + i / 4, 0, i % 4);
  if (row.row < 0) return;
  float value = row_sum(m, phase, i / 4, 0, i % 4) + row.bias;
  if (phase.output == TokenOutput::kGated) {
    const float up_bias = row_of(phase, share.begin + i / 4, 1, i % 4).bias;
    const float up = row_sum(m, phase, i / 4, 1, i % 4) + up_bias;
    value = __fdiv_rn(value, 1.0f + expf(-value)) * up;
  }
  phase.target[row.row] = before + value;
}

// What kAdd adds to: the rows of a kAdd product are those of one part after the other.
__device__ __forceinline__ float row_before(const TokenPhase& phase, const Share& share, int i) {
  if (phase.output != TokenOutput::kAdd || share.begin + i / 4 >= share.end) return 0;
  const int row = row_of(phase, share.begin + i / 4, 0, i % 4).row;
  return row >= 0 ? __ldcg(phase.target + row) : 0.0f;
}

// The block that completes 128 columns of the gated vector prepares them for `down`. After sync().
__device__ __forceinline__ void quantise_gated(const TokenArguments& a, const TokenPhase& phase,
                                               const Share& share) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int columns = 4 * phase.items;
  const int begin = 4 * share.begin;
  const int end = 4 * share.end;
  for (int block = begin / kColumns + warp; block * kColumns < end; block += kTokenWarps) {
    const int first = block * kColumns;
    const int mine = min(end, first + kColumns) - max(begin, first);
    if (mine <= 0) continue;
    const int whole = min(kColumns, columns - first);
    int before = 0;
    if (lane == 0) {
      before = static_cast<int>(
          add_release_returning(a.gated_done + block, static_cast<uint32_t>(mine)));
    }
    if (__shfl_sync(kAllLanes, before, 0) + mine != whole) continue;
    if (lane == 0) a.gated_done[block] = 0;
    float4 v = {0, 0, 0, 0};
    if (first + 4 * lane < columns) {
      v = __ldcg(reinterpret_cast<const float4*>(phase.target + first) + lane);
    }
    float x[1][4] = {{v.x, v.y, v.z, v.w}};
    if (phase.gated_signs != nullptr) {
      const uint32_t signs[1] = {lane_signs(phase.gated_signs + block * (kColumns / 8), lane)};
      rotate_blocks<1>(x, signs, lane);
    }
    QuantisedLane q[1];
    quantise_blocks<1>(x, lane, q);
    reinterpret_cast<uint32_t*>(a.gated_q)[block * kWarp + permuted_word(lane)] = q[0].word;
    if (lane == 0) {
      a.gated_scale[block] = q[0].scale;
      a.gated_sum[block] = q[0].sum;
    }
  }
}

// The whole product, up to the grid's next barrier, at which it arrives. Its first tiles are on
// their way already; those of the next product follow.
__device__ __forceinline__ void product(const TokenArguments& a, const Memory& m, GridBarrier& grid,
                                        const TokenPhase& phase, const TokenPhase* next,
                                        Asking& asking) {
  const Share share = share_of(phase);
  const int items = share.end - share.begin;
  const int i = static_cast<int>(threadIdx.x);
  if (phase.input == TokenInput::kQuantised) {
    copy_gated(a, m, grid, phase);
  } else if (phase.blocks <= kFewRounds * kTokenWarps) {
    prepare_floats<kFewRounds>(a, m, grid, phase);
  } else {
    prepare_floats<kInputBlocks>(a, m, grid, phase);
  }
  const float before = row_before(phase, share, i);
  sync();
  multiply_tiles(m, phase, asking);
  if (next != nullptr) asking.begin(m, *next);
  sync();
  if (i < 4 * items) finish_row(m, phase, share, i, before);
  for (int more = i + kComputing; more < 4 * items; more += kComputing) {
    finish_row(m, phase, share, more, row_before(phase, share, more));
  }
  sync();
  if (phase.output == TokenOutput::kGated) {
    quantise_gated(a, phase, share);
    sync();
  }
  grid.arrive();
  if (next != nullptr) asking.fill();
}

}  // namespace upg::kernels::cuda
