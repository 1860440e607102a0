// The input of a product in the token kernel: one warp of the grid prepares each 128 columns, every
// block takes all of them.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/marked.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

// Rotated, quantised and sent to all. x: the lane's columns; squares: of the lane.
__device__ __forceinline__ void publish_block(const TokenPhase& phase, MarkedVector* prepared,
                                              int block, float (&x)[4], float squares,
                                              uint32_t signs, uint32_t mark) {
  const int lane = lane_index();
  if (phase.signs != nullptr) rotate_block(x, signs, lane);
  const QuantisedLane q = quantise_block(x, lane);
  squares = warp_sum(squares);
  // Word w of a block is that of lane w % 8 / 2 * 8 + w % 2 * 4 + w / 8.
  uint32_t words[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const int word = 3 * lane + i;
    words[i] = __shfl_sync(kAllLanes, q.word, word % 8 / 2 * 8 + word % 2 * 4 + word / 8 % 4);
    if (word == kScaleWord) words[i] = __float_as_uint(q.scale);
    if (word == kSumWord) words[i] = static_cast<uint32_t>(q.sum);
    if (word == kSquaresWord) words[i] = __float_as_uint(squares);
  }
  if (lane < kBlockVectors) {
    publish(prepared + block * kBlockVectors + lane, words, mark);
  }
}

// A warp prepares a block of columns that other blocks' rows are.
__device__ __forceinline__ void prepare_rows(const TokenPhase& phase, MarkedVector* prepared,
                                             int block, uint32_t mark) {
  const int lane = lane_index();
  const int column = block * kColumns + 4 * lane;
  const bool there = column < phase.cols;
  float4 weight = {1, 1, 1, 1};
  if (phase.input == TokenInput::kNormed && there) {
    weight = *reinterpret_cast<const float4*>(phase.norm + column);
  }
  uint32_t signs = 0;
  if (phase.signs != nullptr) signs = lane_signs(phase.signs + block * (kColumns / 8), lane);
  float4 v = {0, 0, 0, 0};
  if (there) v = await_floats(phase.source + column, mark);
  __syncwarp();
  const float squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, v.w * v.w)));
  float x[4] = {v.x * weight.x, v.y * weight.y, v.z * weight.z, v.w * weight.w};
  publish_block(phase, prepared, block, x, squares, signs, mark);
}

// ---- of the attention's parts

// Of a column block of attended heads: what a warp has put together of some parts.
struct PartSums {
  float4 out;
  float maximum;
  float sum;
};

__device__ __forceinline__ void add_part(PartSums& sums, const float4& out, float maximum,
                                         float sum) {
  const float highest = fmaxf(sums.maximum, maximum);
  const float keep = shrink(sums.maximum, highest);
  const float add = shrink(maximum, highest);
  sums.out.x = sums.out.x * keep + out.x * add;
  sums.out.y = sums.out.y * keep + out.y * add;
  sums.out.z = sums.out.z * keep + out.z * add;
  sums.out.w = sums.out.w * keep + out.w * add;
  sums.sum = sums.sum * keep + sum * add;
  sums.maximum = highest;
}

// The same for a part whose maximum is not above that of the sums.
__device__ __forceinline__ void add_smaller_part(PartSums& sums, const PartSums& other) {
  const float add = shrink(other.maximum, sums.maximum);
  sums.out.x = fmaf(other.out.x, add, sums.out.x);
  sums.out.y = fmaf(other.out.y, add, sums.out.y);
  sums.out.z = fmaf(other.out.z, add, sums.out.z);
  sums.out.w = fmaf(other.out.w, add, sums.out.w);
  sums.sum = fmaf(other.sum, add, sums.sum);
}

// Parts `warp`, kTokenWarps further, ... of the lane's columns.
__device__ __forceinline__ PartSums gather_parts(const TokenArguments& a, int column,
                                                 uint32_t mark) {
  const int group = a.heads / a.kv_heads;
  const int chunks = (group + kTokenHeads - 1) / kTokenHeads;
  const int head = column / a.head_dim;
  const int kv_head = head / group;
  const int within = head - kv_head * group;
  const int unit = kv_head * chunks + within / kTokenHeads;
  const int stride = a.head_dim + kPartExtra;
  const Marked* parts =
      a.parts + static_cast<int64_t>(unit * kTokenHeads + within % kTokenHeads) * a.splits * stride;
  PartSums sums = {{0, 0, 0, 0}, -INFINITY, 0};
  for (int split = warp_index(); split < a.splits; split += kTokenWarps) {
    const Marked* part = parts + split * stride;
    const Marked* out = part + (column - head * a.head_dim);
    MarkedPair pairs[3];
    await_marked<3>({out, out + 2, part + a.head_dim}, mark, pairs);
    add_part(sums,
             {value_of(pairs[0].word[0]), value_of(pairs[0].word[1]), value_of(pairs[1].word[0]),
              value_of(pairs[1].word[1])},
             value_of(pairs[2].word[0]), value_of(pairs[2].word[1]));
  }
  return sums;
}

// By the whole block: a warp has some of the parts, one puts them together in their order.
__device__ __forceinline__ void prepare_attended(const TokenArguments& a, const Memory& m,
                                                 const TokenPhase& phase, MarkedVector* prepared,
                                                 int block, uint32_t mark) {
  const int lane = lane_index();
  const int warp = warp_index();
  const int column = block * kColumns + 4 * lane;
  const bool there = column < phase.cols;
  auto* gathered = reinterpret_cast<PartSums*>(m.scratch());  // [warps, lanes]
  if (there) gathered[warp * kWarp + lane] = gather_parts(a, column, mark);
  sync();
  if (warp == 0) {
    uint32_t signs = 0;
    if (phase.signs != nullptr) signs = lane_signs(phase.signs + block * (kColumns / 8), lane);
    float x[4] = {0, 0, 0, 0};
    if (there) {
      const PartSums* first = gathered + lane;
      const int count = min(a.splits, kTokenWarps);
      PartSums sums = {{0, 0, 0, 0}, -INFINITY, 0};
      for (int w = 0; w < count; ++w) sums.maximum = fmaxf(sums.maximum, first[w * kWarp].maximum);
#pragma unroll 4
      for (int w = 0; w < count; ++w) add_smaller_part(sums, first[w * kWarp]);
      x[0] = __fdiv_rn(sums.out.x, sums.sum);
      x[1] = __fdiv_rn(sums.out.y, sums.sum);
      x[2] = __fdiv_rn(sums.out.z, sums.sum);
      x[3] = __fdiv_rn(sums.out.w, sums.sum);
    }
    __syncwarp();
    publish_block(phase, prepared, block, x, 0, signs, mark);
  }
  sync();
}

// The blocks of columns that this block is to prepare.
__device__ __forceinline__ void prepare(const TokenArguments& a, const Memory& m,
                                        const TokenPhase& phase, MarkedVector* prepared,
                                        uint32_t mark) {
  const auto first = static_cast<int>(blockIdx.x);
  const auto grid = static_cast<int>(gridDim.x);
  if (phase.input == TokenInput::kAttended) {
    for (int block = first; block < phase.blocks; block += grid) {
      prepare_attended(a, m, phase, prepared, block, mark);
    }
    return;
  }
  // From the last warp on: the first have had the rows of the product before.
  const int block = first + (kTokenWarps - 1 - warp_index()) * grid;
  if (block < phase.blocks) prepare_rows(phase, prepared, block, mark);
}

// All of the input into shared memory, visible after sync().
__device__ __forceinline__ void take_input(const Memory& m, const TokenPhase& phase,
                                           const MarkedVector* prepared, uint32_t mark) {
  constexpr int kAtOnce = 4;
  const int count = phase.blocks * kBlockVectors;
  auto* words = reinterpret_cast<uint32_t*>(m.act);
  for (int first = static_cast<int>(threadIdx.x); first < count; first += kAtOnce * kComputing) {
    MarkedVector vector[kAtOnce];
    bool all = false;
    while (!all) {
      all = true;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kComputing < count) {
          vector[i] = load_marked(prepared + first + i * kComputing);
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kComputing < count) all = all && vector[i].mark == mark;
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int at = first + i * kComputing;
      if (at >= count) break;
      words[3 * at] = vector[i].word[0];
      words[3 * at + 1] = vector[i].word[1];
      words[3 * at + 2] = vector[i].word[2];
    }
  }
}

// What the sums of a normed input are multiplied by, into shared memory: by one warp, after sync().
__device__ __forceinline__ void find_norm(const TokenArguments& a, const Memory& m,
                                          const TokenPhase& phase) {
  const auto* words = reinterpret_cast<const float*>(m.act);
  float squares = 0;
  for (int block = lane_index(); block < phase.blocks; block += kWarp) {
    squares += words[block * kBlockWords + kSquaresWord];
  }
  const float mean = __fdiv_rn(warp_sum(squares), static_cast<float>(phase.cols));
  if (lane_index() == 0) m.shared->norm = __fdiv_rn(1.0f, __fsqrt_rn(mean + a.epsilon));
}

}  // namespace upg::kernels::cuda
