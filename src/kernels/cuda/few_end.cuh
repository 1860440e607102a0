// What becomes of the sums of a product with a few inputs (products_few.cu). Fragments are four
// sums of a lane: two rows of a tile by two inputs; a block's lie [tile][eight inputs][lane].
#pragma once

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/few_work.cuh"
#include "kernels/cuda/input_norm.cuh"

namespace upg::kernels::cuda {

struct FewShared {
  uint64_t full[2];             // inputs of even and odd passes are there
  uint64_t empty[2];            // and read
  float norm[kMostFewInputs];   // what an input's sums are multiplied by
  int last;                     // whether the block is the last of its group
  int whole[kMostGatedBlocks];  // whether it brings a block of columns its last ones
};

// Where the block's sums lie: of units that ended within a warp's range, and of each warp what it
// has of a unit that another ends.
struct FewPieces {
  const uint8_t* open;
  uint8_t* ended;
};

__device__ __forceinline__ void add_fragment(float4& sum, const float4& part) {
  sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
}

// Calls body(tile, eight inputs, fragment index, sum) for a warp's share of the block's fragments:
// the pieces of the warps that began the unit, in their order, then of the one that ended it.
template <int kInputs, class Body>
__device__ __forceinline__ void for_each_fragment(const FewArguments& a, const FewShare& share,
                                                  const FewPieces& pieces, const Body& body) {
  constexpr int kInputTiles = kInputs / 8;
  constexpr int kPiece = few_piece_bytes(kInputs) / 16;
  constexpr int kUnitFragments = kPiece / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int count = share.units * kUnitFragments;
  const int unit_stages = FewRange::of<kInputs>(share, 0, 0).unit_stages;
  const int stages = share.units * unit_stages;
#pragma unroll 1
  for (int f = static_cast<int>(threadIdx.x) / kWarp; f < count; f += kFewWarps) {
    const int unit = f / kUnitFragments;
    int first = part_of(stages, unit * unit_stages, kFewWarps);
    int last = part_of(stages, (unit + 1) * unit_stages - 1, kFewWarps);
    if (a.passes > 1) {  // an equal number of warps for every unit, which none of them ends
      first = unit * (kFewWarps / share.units);
      last = first + kFewWarps / share.units;
    }
    const float4* open =
        reinterpret_cast<const float4*>(pieces.open) + f % kUnitFragments * kWarp + lane;
    float4 sum = {0, 0, 0, 0};
    for (int warp = first; warp < last; ++warp) add_fragment(sum, open[warp * kPiece]);
    if (a.passes == 1) {
      add_fragment(sum, reinterpret_cast<const float4*>(pieces.ended)[f * kWarp + lane]);
    }
    body(f / kInputTiles, f % kInputTiles, f * kWarp + lane, sum);
  }
}

// ---- to memory

template <Kind kKind>
__device__ __forceinline__ float row_factor_of(const FewArguments& a, int64_t row) {
  return row < a.w.rows ? row_factor<kKind>(__ldg(a.w.scale + row)) : 0.0f;
}
__device__ __forceinline__ float bias_of(const FewArguments& a, int64_t row) {
  return a.out.bias != nullptr && row < a.w.rows ? __ldg(a.out.bias + row) : 0.0f;
}

// One input's rows `lane / 4` and 8 further of a tile; with gate and up, the latter is up's.
template <Kind kKind>
__device__ __forceinline__ void store_rows(const FewArguments& a, int tile, int64_t input,
                                           float norm, float upper, float lower) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool gated = a.end.gated != 0;
  const int64_t row = static_cast<int64_t>(tile) * (gated ? 8 : kFewTileRows) + lane / 4;
  const int64_t rows[2] = {row, gated ? row + a.w.rows / 2 : row + 8};
  float values[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float sum = e == 0 ? upper : lower;
    values[e] = __fmul_rn(sum, row_factor_of<kKind>(a, rows[e])) * norm;
    if (a.out.bias != nullptr) values[e] += bias_of(a, rows[e]);
  }
  if (input >= a.x.rows) return;
  float* y = a.out.y + input * a.out.stride;
  if (gated) {
    if (row < a.w.rows / 2) y[row] = __fdiv_rn(values[0], 1.0f + expf(-values[0])) * values[1];
    return;
  }
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    if (rows[e] >= a.w.rows) continue;
    y[rows[e]] = a.out.add ? __ldcg(y + rows[e]) + values[e] : values[e];
  }
}

template <Kind kKind>
__device__ __forceinline__ void store_fragment(const FewArguments& a, const FewShare& share,
                                               const FewShared& shared, int tile, int eight,
                                               const float4& sum) {
  tile += share.tiles.begin;
  if (tile >= share.tiles.end) return;
  const int input = eight * 8 + static_cast<int>(threadIdx.x) % 4 * 2;
  const float2 norm = *reinterpret_cast<const float2*>(shared.norm + input);
  store_rows<kKind>(a, tile, input, norm.x, sum.x, sum.z);
  store_rows<kKind>(a, tile, input + 1, norm.y, sum.y, sum.w);
}

// ---- to the next product's inputs: a group's rows are a block of their columns

// Row 4 * lane + c of the group for one input; from: a slice's fragments.
template <int kInputs>
__device__ __forceinline__ float sum_at(const float4* from, int lane, int c, int input) {
  const int row = 4 * lane + c;
  const int place = (row / 16 * (kInputs / 8) + input / 8) * kWarp + row % 8 * 4 + input % 8 / 2;
  return reinterpret_cast<const float*>(from + place)[row / 8 % 2 * 2 + input % 2];
}

// By a warp: input `input` of the group's rows is added to what there is and prepared.
// sum(c): of row 4 * lane + c.
template <Kind kKind, class Sum>
__device__ __forceinline__ void prepare_group(const FewArguments& a, int group, int input,
                                              const Sum& sum) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = group * kColumns + 4 * lane;
  auto* y = reinterpret_cast<float4*>(a.out.y + input * a.out.stride + row);
  const float4 before = __ldcg(y);
  const float4 weight = *reinterpret_cast<const float4*>(a.end.weight + row);
  const float4 scale = __ldg(reinterpret_cast<const float4*>(a.w.scale + row));
  const uint32_t signs =
      a.end.to.signs != nullptr ? lane_signs(a.end.to.signs + group * (kColumns / 8), lane) : 0;
  const float scales[4] = {scale.x, scale.y, scale.z, scale.w};
  float x[4] = {before.x, before.y, before.z, before.w};
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    float value = __fmul_rn(sum(c), row_factor<kKind>(scales[c]));
    if (a.out.bias != nullptr) value += a.out.bias[row + c];
    x[c] += value;
  }
  *y = {x[0], x[1], x[2], x[3]};
  const float squares = warp_sum(fmaf(x[0], x[0], fmaf(x[1], x[1], fmaf(x[2], x[2], x[3] * x[3]))));
  if (lane == 0) a.end.squares[input * (static_cast<int>(a.w.rows) / kColumns) + group] = squares;
  float next[4] = {x[0] * weight.x, x[1] * weight.y, x[2] * weight.z, x[3] * weight.w};
  if (a.end.to.signs != nullptr) rotate_block(next, signs, lane);
  store_tile(quantise_block(next, lane), a.end.to.tiled_rows, input, group, lane, a.end.to.q,
             a.end.to.scale);
}

// ---- of the block, or of all blocks of its group by the last one to end

// The fragments of the group in `sums`: false where others are to come.
template <int kInputs>
__device__ __forceinline__ bool add_slices(const FewArguments& a, int count, FewShared& shared,
                                           float4* sums) {
  const auto block = static_cast<int>(blockIdx.x);
  const int group = block / a.slices;
  const int most = (a.slots_at - a.ended_at) / static_cast<int>(sizeof(float4));  // of any block
  auto* parts = reinterpret_cast<float4*>(a.scratch.parts);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kFewThreads) {
    __stcg(parts + block * most + i, sums[i]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    shared.last = atomicAdd(a.scratch.counters + group, 1) + 1 == a.slices;
    if (shared.last != 0) a.scratch.counters[group] = 0;
  }
  __syncthreads();
  if (shared.last == 0) return false;
  __threadfence();
  const float4* first = parts + group * a.slices * most;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kFewThreads) {
    float4 sum = __ldcg(first + i);
#pragma unroll 4
    for (int s = 1; s < a.slices; ++s) add_fragment(sum, __ldcg(first + s * most + i));
    sums[i] = sum;
  }
  return true;
}

// Whether the block has stored its group's rows: the others leave that to the last one.
template <Kind kKind, int kInputs>
__device__ __forceinline__ bool finish(const FewArguments& a, const FewShare& share,
                                       FewShared& shared, const FewPieces& pieces) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (a.slices == 1 && a.end.weight == nullptr) {
    for_each_fragment<kInputs>(a, share, pieces, [&](int tile, int eight, int, const float4& sum) {
      store_fragment<kKind>(a, share, shared, tile, eight, sum);
    });
    return true;
  }
  auto* sums = reinterpret_cast<float4*>(pieces.ended);
  for_each_fragment<kInputs>(a, share, pieces,
                             [sums](int, int, int index, const float4& sum) { sums[index] = sum; });
  __syncthreads();
  // As many for every block of a group.
  const int count = share.units * (few_piece_bytes(kInputs) / 16);
  if (a.slices > 1) {
    if (!add_slices<kInputs>(a, count, shared, sums)) return false;
    __syncthreads();
  }
  if (a.end.weight != nullptr) {
    const int group = static_cast<int>(blockIdx.x) / a.slices;
    for (int input = warp; input < a.x.rows; input += kFewWarps) {
      prepare_group<kKind>(a, group, input,
                           [&](int c) { return sum_at<kInputs>(sums, lane, c, input); });
    }
    return true;
  }
#pragma unroll 1
  for (int f = warp; f < count / kWarp; f += kFewWarps) {
    store_fragment<kKind>(a, share, shared, f / (kInputs / 8), f % (kInputs / 8),
                          sums[f * kWarp + lane]);
  }
  return true;
}

// ---- gate times up: whoever brings a block of columns its last ones prepares it

// By a warp: one input's columns of a block.
__device__ __forceinline__ void prepare_gated(const FewArguments& a, int block, int input) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* from = a.out.y + input * a.out.stride + block * kColumns + 4 * lane;
  const float4 v = __ldcg(reinterpret_cast<const float4*>(from));
  float x[4] = {v.x, v.y, v.z, v.w};
  const TileForm& to = a.end.to;
  if (to.signs != nullptr) {
    rotate_block(x, lane_signs(to.signs + block * (kColumns / 8), lane), lane);
  }
  store_tile(quantise_block(x, lane), to.tiled_rows, input, block, lane, to.q, to.scale);
}

// By a block that has stored its tiles, eight columns each.
__device__ __forceinline__ void finish_gated(const FewArguments& a, const FewShare& share,
                                             FewShared& shared) {
  const Span blocks = gated_blocks(share.tiles);
  const int count = blocks.end - blocks.begin;
  const auto i = static_cast<int>(threadIdx.x);
  __threadfence();
  __syncthreads();
  if (i < count) {
    const int own = gated_tiles_of(share.tiles, blocks.begin + i);
    int* tiles = a.end.gated_tiles + blocks.begin + i;
    shared.whole[i] = atomicAdd(tiles, own) + own == kGatedTiles;
    if (shared.whole[i] != 0) *tiles = 0;
    __threadfence();
  }
  __syncthreads();
  for (int b = 0; b < count; ++b) {
    if (shared.whole[b] == 0) continue;
    for (int input = i / kWarp; input < a.x.rows; input += kFewWarps) {
      prepare_gated(a, blocks.begin + b, input);
    }
  }
}

// What will be read then, on its way to the L2 cache.
__device__ __forceinline__ void prefetch_end(const FewArguments& a, const FewShare& share) {
  constexpr int kLine = 32;  // rows
  const bool gated = a.end.gated != 0;
  const int tile_rows = gated ? kFewTileRows / 2 : kFewTileRows;
  const int lines = (share.tiles.end - share.tiles.begin) * tile_rows / kLine + 2;
  const auto i = static_cast<int>(threadIdx.x);
  const int64_t row = static_cast<int64_t>(share.tiles.begin) * tile_rows + i % lines * kLine +
                      i / lines * (a.w.rows / 2);
  if (i < (gated ? 2 * lines : lines) && row < a.w.rows) prefetch_l2(a.w.scale + row);
}

}  // namespace upg::kernels::cuda
