// What the parts of the token kernel share: its shared memory, where a row group of a product lies.
#pragma once

#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

constexpr int kComputing = kTokenThreads;
constexpr int kZeroBytes = 256;

// What a block does of the attention: some heads that share a kv head, a part of the positions.
struct AttentionUnit {
  int index;
  int kv_head;
  int first_head;
  int heads;
  int split;  // from arguments.splits on: none
};

struct Shared {
  uint8_t zeros[kZeroBytes];  // aligned as the inputs
  TokenPhase phases[kPhaseEntries];
  float cos[kMaxHalfRotary];
  float sin[kMaxHalfRotary];
  int cache_rows[kTokenThreads / 2];  // of attention: of each warp's first positions
  int phase_index[kTokenWarps];       // of each warp
  int newest_row;                     // of the position that comes with the token
  AttentionUnit unit;                 // of this block, in every layer
  float norm;                         // what the sums of a normed input are multiplied by
};

struct Memory {
  Shared* shared;
  uint8_t* slots;  // kSlots of each warp
  float* partial;  // sums, then what a product's rows need (rows_of_phase)
  uint8_t* act;    // blocks of kBlockStride bytes

  // Between a product's results and the next one's input the memory of both is free.
  __device__ __forceinline__ float* scratch() const { return partial; }
};

constexpr int kSharedBytes = (sizeof(Shared) + 127) / 128 * 128;
constexpr int kSlotBytes = kMostVectors * kWarp * 16;
constexpr int kWarpSlotsBytes = kSlots * kSlotBytes;
constexpr int kSlotsBytes = kTokenWarps * kWarpSlotsBytes;
constexpr int kAskedWaiting = 2;  // chunks that a warp asks for before a phase's input is there
constexpr int kLastWarp = kTokenWarps - 1;
// Warps that look ahead while others finish rows (the first ones) or prepare the input (the last).
constexpr int kDescribingWarp = kTokenWarps - 4;
constexpr int kRowsWarp = kTokenWarps - 3;

__device__ __forceinline__ Memory memory_of(uint8_t* base, const TokenArguments& a) {
  uint8_t* partial = base + kSharedBytes + kSlotsBytes;
  return {reinterpret_cast<Shared*>(base), base + kSharedBytes, reinterpret_cast<float*>(partial),
          partial + a.partial_bytes};
}

__device__ __forceinline__ void sync() { __syncthreads(); }

// Of this thread. What follows from them is found again where it is needed, instead of being kept
// in registers through the whole token.
__device__ __forceinline__ uint32_t thread_index() {
  uint32_t index = threadIdx.x;
  asm volatile("" : "+r"(index));
  return index;
}
__device__ __forceinline__ int lane_index() { return static_cast<int>(thread_index() % kWarp); }
__device__ __forceinline__ int warp_index() { return static_cast<int>(thread_index() / kWarp); }

// The phase that the warp is in: read again where it is needed, not kept in a register.
__device__ __forceinline__ int phase_index(const Memory& m) {
  return *static_cast<const volatile int*>(m.shared->phase_index + warp_index());
}
__device__ __forceinline__ void go_to_phase(const Memory& m, int index) {
  __syncwarp();
  if (lane_index() == 0) m.shared->phase_index[warp_index()] = index;
  __syncwarp();
}

// Row group `group` of the block's share: of gate and up in turns.
struct Where {
  int part;
  int group;  // of the part
};

__device__ __forceinline__ Where locate(const TokenPhase& phase, int group) {
  if (phase.output == TokenOutput::kGated) {
    const int item = phase.begin + group / 2;
    const int up = group % 2;
    if (phase.parts == 2) return {up, item};
    return {0, item + up * phase.items};
  }
  const int item = phase.begin + group;
  int p = 0;
  while (p + 1 < phase.parts && item >= phase.part[p + 1].first_group) ++p;
  return {p, item - phase.part[p].first_group};
}

__device__ __forceinline__ int groups_of(const TokenPhase& phase) {
  return (phase.end - phase.begin) * (phase.output == TokenOutput::kGated ? 2 : 1);
}

// Behind the partial sums of the largest phase: kRowFloats of each row group, of two phases in
// turns.
__device__ __forceinline__ float* rows_of_phase(const Memory& m, const TokenArguments& a,
                                                int index) {
  return m.partial + kPartialFloats * partials_of(a.most_groups) +
         index % 2 * kRowFloats * a.most_groups;
}

// Fills in the block's share.
__device__ __forceinline__ void find_share(TokenPhase& phase) {
  const Span share =
      span_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  phase.begin = share.begin;
  phase.end = share.end;
  phase.chunks = groups_of(phase) * phase.group_chunks;
  phase.chunk_share = chunk_share(phase.chunks);
}

}  // namespace upg::kernels::cuda
