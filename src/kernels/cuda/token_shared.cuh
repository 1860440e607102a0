// What the parts of the token kernel share: its shared memory, the grid's barrier, where an item of
// a product lies.
#pragma once

#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

constexpr int kComputing = kTokenWarps * kWarp;  // threads that compute
constexpr int kMaxSlots = 64;

struct Shared {
  uint64_t full[kMaxSlots];
  uint64_t empty[kMaxSlots];
  uint64_t phase_full[kPhaseEntries];
  uint64_t phase_empty[kPhaseEntries];
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
  float* partial;
  uint8_t* act;  // blocks of kBlockStride bytes, then scales, then sums
  uint8_t* ring;

  __device__ __forceinline__ float* act_scale(int blocks) const {
    return reinterpret_cast<float*>(act + blocks * kBlockStride);
  }
  __device__ __forceinline__ int32_t* act_sum(int blocks) const {
    return reinterpret_cast<int32_t*>(act_scale(blocks) + blocks);
  }
};

__device__ __forceinline__ Memory memory_of(uint8_t* base, const TokenArguments& a) {
  uint8_t* partial = base + (sizeof(Shared) + 127) / 128 * 128;
  uint8_t* act = partial + a.partial_bytes;
  return {reinterpret_cast<Shared*>(base), reinterpret_cast<float*>(partial), act,
          act + a.act_bytes};
}

// The computing warps alone.
__device__ __forceinline__ void sync() { named_barrier(1, kComputing); }

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
