// What the parts of the token kernel share: its shared memory, the grid's barrier, where an item of
// a product lies.
#pragma once

#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

constexpr int kComputing = kTokenThreads;

struct Shared {
  TokenPhase phases[kPhaseEntries];
  float cos[kMaxHalfRotary];
  float sin[kMaxHalfRotary];
  float sums[kTokenWarps];
  float keep[kTokenHeads][kWarp];  // of attention: what a warp's sums are multiplied by
  float total[kTokenHeads];
  float highest[kTokenHeads];
  int32_t is_last;
};

struct Memory {
  Shared* shared;
  uint8_t* slots;  // kSlots of each warp: [kSlotVectors, lanes, 16]
  float* partial;
  uint8_t* act;  // blocks of kBlockStride bytes, then scales, then sums

  __device__ __forceinline__ float* act_scale(int blocks) const {
    return reinterpret_cast<float*>(act + blocks * kBlockStride);
  }
  __device__ __forceinline__ int32_t* act_sum(int blocks) const {
    return reinterpret_cast<int32_t*>(act_scale(blocks) + blocks);
  }
};

constexpr int kSharedBytes = (sizeof(Shared) + 127) / 128 * 128;
constexpr int kSlotBytes = kSlotVectors * kWarp * 16;
constexpr int kSlotsBytes = kTokenWarps * kSlots * kSlotBytes;

__device__ __forceinline__ Memory memory_of(uint8_t* base, const TokenArguments& a) {
  uint8_t* partial = base + kSharedBytes + kSlotsBytes;
  return {reinterpret_cast<Shared*>(base), base + kSharedBytes, reinterpret_cast<float*>(partial),
          partial + a.partial_bytes};
}

__device__ __forceinline__ void sync() { __syncthreads(); }

class GridBarrier {
 public:
  __device__ GridBarrier(uint32_t* counter, uint32_t base) : counter_(counter), target_(base) {}
  // What the block wrote before is visible to whoever waited. After sync().
  __device__ __forceinline__ void arrive() {
    target_ += gridDim.x;
    if (threadIdx.x == 0) add_release(counter_, 1);
  }
  __device__ __forceinline__ void wait() {
    if (threadIdx.x == 0) {
      while (static_cast<int32_t>(load_relaxed(counter_) - target_) < 0) {
      }
    }
    sync();
  }

 private:
  uint32_t* counter_;
  uint32_t target_;
};

struct Where {
  const TokenPart* part;
  int group;  // of the part
};

// The row group of an item; stream 1: of the up half of a pair.
__device__ __forceinline__ Where locate(const TokenPhase& phase, int item, int stream) {
  if (phase.output == TokenOutput::kGated) {
    if (phase.parts == 2) return {&phase.part[stream], item};
    return {&phase.part[0], item + stream * phase.items};
  }
  int p = 0;
  while (p + 1 < phase.parts && item >= phase.part[p + 1].first_group) ++p;
  return {&phase.part[p], item - phase.part[p].first_group};
}

__device__ __forceinline__ int streams_of(const TokenPhase& phase) {
  return phase.output == TokenOutput::kGated ? 2 : 1;
}

__device__ __forceinline__ Share share_of(const TokenPhase& phase) {
  return {phase.begin, phase.end};
}

}  // namespace upg::kernels::cuda
