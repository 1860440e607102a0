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
    const float row_scale = reinterpret_cast<const float*>(tile + kTileBytes)[lane % 4];
    result = __fmul_rn(total, row_factor<kKind>(row_scale));
  }
};

// The block's tiles, a warp each in turn. cursor: of the product's first tile.
__device__ __forceinline__ void multiply_tiles(const TokenArguments& a, const Memory& m,
                                               RingCursor& cursor, const TokenPhase& phase,
                                               const Share& share, int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int tiles = phase.tiles;
  const int tile_blocks = phase.tile_blocks;
  const int blocks = phase.blocks;
  const auto per_item = static_cast<unsigned>(tiles * streams_of(phase));
  const float* scale = m.act_scale(blocks);
  const int32_t* sum = m.act_sum(blocks);
  RingCursor at = cursor;
  at.advance(warp, a.slots);
  for (int n = warp; n < count; n += kTokenWarps) {
    const auto tile = static_cast<unsigned>(n);
    const auto t = static_cast<int>(tile % per_item);
    const int item = share.begin + static_cast<int>(tile / per_item);
    const TokenPart& part = *locate(phase, item, t < tiles ? 0 : 1).part;
    const int first = (t < tiles ? t : t - tiles) * tile_blocks;
    float result = 0;
    wait_parity(&m.shared->full[at.slot], at.parity);
    dispatch_kind(
        part.kind, part.two_palettes != 0,
        TileDot{m.ring + at.slot * kSlotBytes, m.act + first * kBlockStride, scale + first,
                sum + first, min(tile_blocks, blocks - first), lane, part.palette, result});
    __syncwarp();
    if (lane == 0) arrive(&m.shared->empty[at.slot]);
    if (lane < 4) m.partial[n * 4 + lane] = result;
    at.advance(kTokenWarps, a.slots);
  }
  cursor.advance(count, a.slots);
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

// The whole product, up to the grid's next barrier, at which it arrives.
__device__ __forceinline__ void product(const TokenArguments& a, const Memory& m, GridBarrier& grid,
                                        RingCursor& cursor, const TokenPhase& phase) {
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
  multiply_tiles(a, m, cursor, phase, share, items * phase.tiles * streams_of(phase));
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
}

}  // namespace upg::kernels::cuda
