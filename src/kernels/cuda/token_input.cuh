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
  const auto add_squares = [&](int mask) { squares += __shfl_xor_sync(kAllLanes, squares, mask); };
  if (phase.signs != nullptr) {
    rotate_block(x, signs, lane, add_squares);
  } else {
#pragma unroll
    for (int mask = 1; mask < kWarp; mask *= 2) add_squares(mask);
  }
  const QuantisedLane q = quantise_block(x, lane);
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

// pairs: four sums, maximum and sum of weights.
__device__ __forceinline__ void add_part(PartSums& sums, const MarkedPair* pairs) {
  const float4 out = {value_of(pairs[0].word[0]), value_of(pairs[0].word[1]),
                      value_of(pairs[1].word[0]), value_of(pairs[1].word[1])};
  const float maximum = value_of(pairs[2].word[0]);
  const float sum = value_of(pairs[2].word[1]);
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
  for (int split = warp_index(); split < a.splits; split += 2 * kTokenWarps) {
    // Two at once, the second one twice the first where there is no other.
    const bool has_other = split + kTokenWarps < a.splits;
    const Marked* part = parts + split * stride;
    const Marked* other = has_other ? part + kTokenWarps * stride : part;
    const int place = column - head * a.head_dim;
    MarkedPair pairs[6];
    await_marked<6>({part + place, part + place + 2, part + a.head_dim, other + place,
                     other + place + 2, other + a.head_dim},
                    mark, pairs);
    add_part(sums, pairs);
    if (has_other) add_part(sums, pairs + 3);
  }
  return sums;
}

// What the warps have of a column block of attended heads, in their order. outs [warps, lanes],
// weights [warps, lanes] (maximum and sum): of this lane. Zeros where the lane has no column.
__device__ __forceinline__ float4 merge_parts(const float4* outs, const float2* weights, int warps,
                                              bool there) {
  float2 part[kTokenWarps];
  float highest = -INFINITY;
#pragma unroll
  for (int w = 0; w < kTokenWarps; ++w) {
    part[w] = w < warps && there ? weights[w * kWarp] : float2{-INFINITY, 0};
    highest = fmaxf(highest, part[w].x);
  }
  float4 out = {0, 0, 0, 0};
  float sum = there ? 0.0f : 1.0f;
#pragma unroll
  for (int w = 0; w < kTokenWarps; ++w) {
    if (w >= warps || !there) continue;
    const float4 other = outs[w * kWarp];
    const float keep = __expf(part[w].x - highest);
    out.x = fmaf(other.x, keep, out.x);
    out.y = fmaf(other.y, keep, out.y);
    out.z = fmaf(other.z, keep, out.z);
    out.w = fmaf(other.w, keep, out.w);
    sum = fmaf(part[w].y, keep, sum);
  }
  const float share = __fdiv_rn(1.0f, sum);
  return {out.x * share, out.y * share, out.z * share, out.w * share};
}

// By the whole block: a warp has some of the parts, the last one puts them together. then(): by
// each warp when it has done its own.
template <class Then>
__device__ __forceinline__ void prepare_attended(const TokenArguments& a, const Memory& m,
                                                 const TokenPhase& phase, MarkedVector* prepared,
                                                 int block, uint32_t mark, const Then& then) {
  const int lane = lane_index();
  const int warp = warp_index();
  const int column = block * kColumns + 4 * lane;
  const bool there = column < phase.cols;
  const int warps = min(a.splits, kTokenWarps);                // that have any
  auto* outs = reinterpret_cast<float4*>(m.scratch()) + lane;  // [warps, lanes]
  auto* weights = reinterpret_cast<float2*>(m.scratch() + 4 * kTokenThreads) + lane;
  if (there && warp < warps) {
    const PartSums own = gather_parts(a, column, mark);
    outs[warp * kWarp] = own.out;
    weights[warp * kWarp] = {own.maximum, own.sum};
  }
  uint32_t signs = 0;
  if (phase.signs != nullptr) signs = lane_signs(phase.signs + block * (kColumns / 8), lane);
  sync();
  if (warp == kLastWarp) {
    const float4 out = merge_parts(outs, weights, warps, there);
    __syncwarp();
    float x[4] = {out.x, out.y, out.z, out.w};
    publish_block(phase, prepared, block, x, 0, signs, mark);
  }
  then();
  sync();
}

// The block of columns that this warp is to prepare from rows, if it is not past the last: from the
// last warp on, since the first have had the rows of the product before.
__device__ __forceinline__ int block_to_prepare() {
  return static_cast<int>(blockIdx.x) + (kLastWarp - warp_index()) * static_cast<int>(gridDim.x);
}

// Whether this warp prepares something.
__device__ __forceinline__ bool prepares(const TokenPhase& phase) {
  const bool together = phase.input == TokenInput::kAttended;
  return (together ? static_cast<int>(blockIdx.x) : block_to_prepare()) < phase.blocks;
}

// then(): once by each warp, when it has nothing more to prepare.
template <class Then>
__device__ __forceinline__ void prepare(const TokenArguments& a, const Memory& m,
                                        const TokenPhase& phase, MarkedVector* prepared,
                                        uint32_t mark, const Then& then) {
  if (phase.input != TokenInput::kAttended) {
    prepare_rows(phase, prepared, block_to_prepare(), mark);
    then();
    return;
  }
  const auto step = static_cast<int>(gridDim.x);
  for (auto block = static_cast<int>(blockIdx.x); block < phase.blocks; block += step) {
    prepare_attended(a, m, phase, prepared, block, mark, [&] {
      if (block + step >= phase.blocks) then();
    });
  }
}

// All of the input into shared memory, visible after sync(). Calls meanwhile() between looks for
// it.
template <class Meanwhile>
__device__ __forceinline__ void take_input(const Memory& m, const TokenPhase& phase,
                                           const MarkedVector* prepared, uint32_t mark,
                                           const Meanwhile& meanwhile) {
  constexpr int kAtOnce = 5;
  const int count = phase.blocks * kBlockVectors;
  const int lane = lane_index();
  auto* words = reinterpret_cast<uint32_t*>(m.act);
  // Blocks that fill up the last chunk count nothing, whatever their integers are.
  const int past = phase.blocks + static_cast<int>(thread_index());
  if (past < phase.group_chunks * kChunk) {
    words[past * kBlockWords + kScaleWord] = 0;
    words[past * kBlockWords + kSumWord] = 0;
  }
  for (int warps = warp_index() * kWarp; warps < count; warps += kAtOnce * kComputing) {
    const int first = warps + lane;
    MarkedVector vector[kAtOnce];
#pragma unroll
    for (MarkedVector& one : vector) one.mark = ~mark;
    while (true) {
      // Only those that were not there: whoever looks takes the way of what comes.
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int at = first + i * kComputing;
        if (at < count && vector[i].mark != mark) vector[i] = load_marked(prepared + at);
      }
      bool all = true;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kComputing < count) all = all && vector[i].mark == mark;
      }
      if (__all_sync(kAllLanes, all)) break;
      meanwhile();
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
