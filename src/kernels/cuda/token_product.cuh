// A product in the token kernel: its input, the block's share of its rows, and what becomes of the
// sums.
#pragma once

#include "kernels/cuda/token_attention.cuh"
#include "kernels/cuda/token_input.cuh"
#include "kernels/cuda/token_tiles.cuh"

namespace upg::kernels::cuda {

// ---- what becomes of the sums: thread i takes row i % 4 of item i / 4

constexpr float kPerLevel = 1.0f / 63.0f;  // of a row's scale

// A row of the block.
struct Row {
  int index = -1;  // of the product's output; -1 past the last
  float bias = 0;
  RowParts parts = {};
  int given = 0;  // where its scale is, in what rows need
};

// group: of the block's share.
__device__ __forceinline__ Row row_of(const TokenPhase& phase, int group, int r) {
  const Where where = locate(phase, group);
  const TokenPart& part = phase.part[where.part];
  const int row = where.group * 4 + r;
  if (row >= part.rows) return {};
  const float bias = part.bias != nullptr ? part.bias[row] : 0.0f;
  return {part.first_row + row, bias, row_parts(phase, group), kRowFloats * group + r};
}

// Of kGated: a row of gate and one of up.
struct RowPair {
  Row row;
  Row up;
};

// i: of the block's results.
__device__ __forceinline__ RowPair rows_of(const TokenPhase& phase, int i) {
  if (i >= 4 * (phase.end - phase.begin)) return {};
  if (phase.output != TokenOutput::kGated) return {row_of(phase, i / 4, i % 4), {}};
  return {row_of(phase, i / 4 * 2, i % 4), row_of(phase, i / 4 * 2 + 1, i % 4)};
}

// What the block's rows will need, on its way to shared memory: by one warp. kAdd's product is one
// part.
__device__ __forceinline__ void ask_rows(const TokenPhase& phase, float* to) {
  const int groups = groups_of(phase);
  for (int group = lane_index(); group < groups; group += kWarp) {
    const Where where = locate(phase, group);
    const int row = 4 * where.group;
    auto* at = reinterpret_cast<uint8_t*>(to + kRowFloats * group);
    copy_vector(at, phase.part[where.part].scale + row);
    if (phase.output == TokenOutput::kAdd) copy_vector(at + 16, phase.target + row);
  }
}

// What a phase does with its sums, looked up before they are there.
struct Finish {
  const float* given;  // what the phase's rows need
  Marked* marked;
  float* target;
  uint32_t mark;
  TokenOutput output;
  bool normed;
};

__device__ __forceinline__ Finish finish_of(const TokenArguments& a, const Memory& m,
                                            const TokenPhase& phase) {
  const int index = phase_index(m);
  const uint32_t mark = a.mark + static_cast<uint32_t>(index) + 1;  // of the next phase
  return {rows_of_phase(m, a, index),        phase.marked, phase.target, mark, phase.output,
          phase.input == TokenInput::kNormed};
}

// norm: of the input.
__device__ __forceinline__ float row_value(const Memory& m, const Row& row, const float* given,
                                           float norm) {
  const float factor = given[row.given] * kPerLevel;
  return row_sum(m, row.parts, row.given % 4) * factor * norm + row.bias;
}

__device__ __forceinline__ void finish_row(const Memory& m, const Finish& finish,
                                           const RowPair& rows) {
  const int index = rows.row.index;
  if (index < 0) return;
  const float norm = finish.normed ? m.shared->norm : 1.0f;
  const float added = finish.output == TokenOutput::kAdd ? finish.given[rows.row.given + 4] : 0.0f;
  float value = row_value(m, rows.row, finish.given, norm);
  if (finish.output == TokenOutput::kGated) {
    const float up = row_value(m, rows.up, finish.given, norm);
    value = __fdividef(value, 1.0f + __expf(-value)) * up;
  }
  if (finish.output == TokenOutput::kAdd) value += added;
  if (finish.marked != nullptr) publish(finish.marked + index, value, finish.mark);
  if (finish.target != nullptr) finish.target[index] = value;
}

// A phase into shared memory, by one warp; visible after sync(). Also, on its way to the L2 cache,
// what this block needs to prepare the phase's input.
__device__ __forceinline__ void describe(const TokenArguments& a, const Memory& m, int index) {
  if (index >= a.phase_count) return;
  const int lane = lane_index();
  TokenPhase& phase = m.shared->phases[index % kPhaseEntries];
  const auto* from = reinterpret_cast<const uint4*>(a.phases + index);
  constexpr int kVectors = sizeof(TokenPhase) / 16;
  static_assert(kVectors <= kWarp);
  if (lane < kVectors) reinterpret_cast<uint4*>(&phase)[lane] = __ldg(from + lane);
  __syncwarp();
  if (lane == 0) find_share(phase);
  const auto block = static_cast<int>(blockIdx.x);
  if (block >= phase.blocks) return;
  const int column = block * kColumns + 4 * lane;
  if (phase.input == TokenInput::kNormed && column < phase.cols) prefetch_l2(phase.norm + column);
  if (phase.signs != nullptr) prefetch_l2(phase.signs + block * (kColumns / 8));
}

__device__ __forceinline__ bool is_normed(const TokenPhase& phase) {
  return phase.input == TokenInput::kNormed;
}
__device__ __forceinline__ int results_of(const TokenPhase& phase) {
  return 4 * (phase.end - phase.begin);
}

// The input of the phase, by those who prepare it and into shared memory. Meanwhile the next phase
// is described, codes and what rows need are asked for. Returns this thread's rows.
__device__ __forceinline__ RowPair await_input(const TokenArguments& a, const Memory& m,
                                               const TokenPhase& phase, Asking& asking) {
  const int index = phase_index(m);
  MarkedVector* prepared = a.prepared[index % 2];
  const uint32_t mark = a.mark + static_cast<uint32_t>(index);
  if (prepares(phase)) {  // first: all others wait for this
    prepare(a, m, phase, prepared, mark, [&] { asking.begin(m, phase); });
  } else {
    asking.begin(m, phase);
  }
  if (warp_index() == kDescribingWarp) describe(a, m, index + 1);
  if (warp_index() == kRowsWarp) ask_rows(phase, rows_of_phase(m, a, index));
  if (phase.k != nullptr) find_cache_rows(a, m, phase);
  const RowPair rows = rows_of(phase, static_cast<int>(thread_index()));
  if (results_of(phase) > 0) {
    // A little at a time: what has been asked for delays what blocks tell one another.
    take_input(m, phase, prepared, mark, [&] { asking.ask_one(kAskedWaiting); });
  }
  return rows;
}

// rows: of this thread.
__device__ __forceinline__ void finish_product(const Memory& m, const TokenPhase& phase,
                                               const Finish& finish, const RowPair& rows) {
  finish_row(m, finish, rows);
  const int count = results_of(phase);
  for (int i = static_cast<int>(thread_index()) + kComputing; i < count; i += kComputing) {
    finish_row(m, finish, rows_of(phase, i));
  }
}

// A phase's product.
__device__ __forceinline__ void product(const TokenArguments& a, const Memory& m,
                                        const TokenPhase& phase) {
  Asking asking;
  const RowPair rows = await_input(a, m, phase, asking);
  sync();
  asking.fill();
  if (is_normed(phase) && results_of(phase) > 0 && warp_index() == kDescribingWarp) {
    find_norm(a, m, phase);
  }
  multiply_range(m, phase, asking);
  wait_all_copies();
  const Finish finish = finish_of(a, m, phase);
  sync();
  finish_product(m, phase, finish, rows);
}

}  // namespace upg::kernels::cuda
