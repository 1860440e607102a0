// What the parts of the token kernel share: its shared memory, where a row group of a product lies.
#pragma once

#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

constexpr int kComputing = kTokenThreads;

struct Shared {
  TokenPhase phases[kPhaseEntries];
  float cos[kMaxHalfRotary];
  float sin[kMaxHalfRotary];
  float keep[kTokenHeads][kWarp];  // of attention: what a warp's sums are multiplied by
  float total[kTokenHeads];
  float highest[kTokenHeads];
  float norm;  // what the sums of a normed input are multiplied by
};

struct Memory {
  Shared* shared;
  uint8_t* slots;  // kSlots of each warp
  float* partial;
  uint8_t* act;  // blocks of kBlockStride bytes

  // Between a product's results and the next one's input the memory of both is free.
  __device__ __forceinline__ float* scratch() const { return partial; }
};

constexpr int kSharedBytes = (sizeof(Shared) + 127) / 128 * 128;
constexpr int kSlotBytes = kMostVectors * kWarp * 16;
constexpr int kSlotsBytes = kTokenWarps * kSlots * kSlotBytes;
constexpr int kLastWarp = kTokenWarps - 1;

__device__ __forceinline__ Memory memory_of(uint8_t* base, const TokenArguments& a) {
  uint8_t* partial = base + kSharedBytes + kSlotsBytes;
  return {reinterpret_cast<Shared*>(base), base + kSharedBytes, reinterpret_cast<float*>(partial),
          partial + a.partial_bytes};
}

__device__ __forceinline__ void sync() { __syncthreads(); }

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarp; }

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

// Fills in the block's share.
__device__ __forceinline__ void find_share(TokenPhase& phase) {
  const Share share =
      share_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  const int groups = (share.end - share.begin) * (phase.output == TokenOutput::kGated ? 2 : 1);
  phase.begin = share.begin;
  phase.end = share.end;
  phase.chunks = groups * chunks_of(phase.blocks);
  phase.warp_chunks = (phase.chunks + kTokenWarps - 1) / kTokenWarps;
  phase.warp_share = __fdiv_rn(1.0f, static_cast<float>(max(phase.warp_chunks, 1)));
}

}  // namespace upg::kernels::cuda
