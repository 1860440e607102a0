// A product in the token kernel: its input, the block's share of its rows, and what becomes of the
// sums.
#pragma once

#include "kernels/cuda/token_input.cuh"
#include "kernels/cuda/token_tiles.cuh"

namespace upg::kernels::cuda {

// ---- what becomes of the sums: thread i takes row i % 4 of item i / 4

struct RowRef {
  float bias;
  int row;  // of the product's output; -1 past the last
};

// group: of the block's share.
__device__ __forceinline__ RowRef row_of(const TokenPhase& phase, int group, int r) {
  const Where where = locate(phase, group);
  const TokenPart& part = phase.part[where.part];
  const int row = where.group * 4 + r;
  if (row >= part.rows) return {0, -1};
  return {part.bias != nullptr ? part.bias[row] : 0.0f, part.first_row + row};
}

// before: of kAdd, what is there; a row is always the same thread's. norm: of the input.
__device__ __forceinline__ void finish_row(const Memory& m, const TokenPhase& phase, int i,
                                           float norm, float before, uint32_t mark) {
  const bool gated = phase.output == TokenOutput::kGated;
  const int group = gated ? i / 4 * 2 : i / 4;
  const RowRef row = row_of(phase, group, i % 4);
  if (row.row < 0) return;
  float value = row_sum(m, phase, group, i % 4) * norm + row.bias;
  if (gated) {
    const float up_bias = row_of(phase, group + 1, i % 4).bias;
    const float up = row_sum(m, phase, group + 1, i % 4) * norm + up_bias;
    value = __fdiv_rn(value, 1.0f + expf(-value)) * up;
  }
  value += before;
  if (phase.marked != nullptr) publish(phase.marked + row.row, value, mark);
  if (phase.target != nullptr) phase.target[row.row] = value;
}

// What kAdd adds to: its product is one part.
__device__ __forceinline__ float row_before(const TokenPhase& phase, int i) {
  if (phase.output != TokenOutput::kAdd || phase.begin + i / 4 >= phase.end) return 0;
  const int row = 4 * phase.begin + i;
  return row < phase.part[0].rows ? __ldcg(phase.target + row) : 0.0f;
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

// The product of phase `index`. Its results carry the number of the next phase, which is described
// on the way; where no attention follows, the next product's first codes are asked for.
__device__ __forceinline__ void product(const TokenArguments& a, const Memory& m, int index,
                                        Asking& asking) {
  const TokenPhase& phase = m.shared->phases[index % kPhaseEntries];
  MarkedVector* prepared = a.prepared[index % 2];
  const uint32_t mark = a.mark + static_cast<uint32_t>(index);
  const int rows = 4 * (phase.end - phase.begin);
  const int i = static_cast<int>(threadIdx.x);
  const float before = row_before(phase, i);
  prepare(a, m, phase, prepared, mark);
  if (warp_index() == kLastWarp) describe(a, m, index + 1);
  if (rows > 0) take_input(m, phase, prepared, mark);
  sync();
  asking.fill();  // not before: what has been asked for delays what blocks tell one another
  const bool normed = phase.input == TokenInput::kNormed;
  if (normed && rows > 0 && warp_index() == kLastWarp) find_norm(a, m, phase);
  multiply_range(m, phase, asking);
  const bool attends = phase.k != nullptr;
  if (!attends && index + 1 < a.phase_count) {
    asking.begin(m, m.shared->phases[(index + 1) % kPhaseEntries]);
  }
  sync();
  const float norm = normed ? m.shared->norm : 1.0f;
  if (i < rows) finish_row(m, phase, i, norm, before, mark + 1);
  for (int more = i + kComputing; more < rows; more += kComputing) {
    finish_row(m, phase, more, norm, row_before(phase, more), mark + 1);
  }
  if (attends) sync();  // attention takes the memory of the sums
}

}  // namespace upg::kernels::cuda
