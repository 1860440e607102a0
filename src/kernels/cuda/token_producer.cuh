// The warp of the token kernel that brings codes.
#pragma once

#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

struct Producer {
  const TokenArguments& a;
  const Memory& m;
  RingCursor cursor;  // of the next tile
  RingCursor flight;  // in_flight tiles before it
  int asked;          // tiles so far, no further than in_flight
  uint64_t policy;
  int lane;

  // Phases are described to the computing warps some time before their first tile.
  __device__ __forceinline__ void describe(int index) {
    if (index >= a.phase_count) return;
    const int entry = index % kPhaseEntries;
    wait_parity(&m.shared->phase_empty[entry], (index / kPhaseEntries & 1) ^ 1);
    constexpr int kVectors = sizeof(TokenPhase) / 16;
    const auto* from = reinterpret_cast<const uint4*>(a.phases + index);
    auto* to = reinterpret_cast<uint4*>(&m.shared->phases[entry]);
    for (int i = lane; i < kVectors; i += kWarp) to[i] = from[i];
    __syncwarp();
    if (lane == 0) {
      TokenPhase& phase = m.shared->phases[entry];
      const Share share =
          share_of(phase.items, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
      phase.begin = share.begin;
      phase.end = share.end;
      arrive(&m.shared->phase_full[entry]);
    }
    __syncwarp();
    prefetch(m.shared->phases[entry]);
  }

  // Into the L2 cache: the norm weights, which are everybody's, some lines a block.
  __device__ __forceinline__ void prefetch(const TokenPhase& phase) {
    constexpr int kLineFloats = 32;
    if (phase.input == TokenInput::kNormed) {
      const int line = static_cast<int>(blockIdx.x + gridDim.x * lane);
      if (line * kLineFloats < phase.cols) prefetch_l2(phase.norm + line * kLineFloats);
    }
  }

  // The block's tiles in order, by one lane: few instructions a tile, since this warp is one of
  // many and the memory waits for it.
  __device__ __forceinline__ void stream(const TokenPhase& phase) {
    const int end = phase.end;
    const int blocks = phase.blocks;
    const int tile_blocks = phase.tile_blocks;
    const int streams = streams_of(phase);
    for (int item = phase.begin; item < end; ++item) {
      for (int s = 0; s < streams; ++s) {
        const Where where = locate(phase, item, s);
        const int block_bytes = 64 * vectors_of(where.part->kind);
        const uint8_t* codes =
            where.part->codes + static_cast<int64_t>(where.group) * (blocks * block_bytes);
        const float* scale = where.part->scale + 4 * where.group;
        const int tile_bytes = tile_blocks * block_bytes;
        for (int left = blocks * block_bytes; left > 0; left -= tile_bytes) {
          bring(codes, static_cast<uint32_t>(min(left, tile_bytes)), scale);
          codes += tile_bytes;
        }
      }
    }
  }

  __device__ __forceinline__ void bring(const uint8_t* codes, uint32_t bytes, const float* scale) {
    uint64_t* full = &m.shared->full[cursor.slot];
    uint8_t* slot = m.ring + cursor.slot * kSlotBytes;
    if (asked >= a.in_flight) {
      wait_parity(&m.shared->full[flight.slot], flight.parity);
    } else {
      ++asked;
    }
    wait_parity(&m.shared->empty[cursor.slot], cursor.parity ^ 1);
    expect_bytes(full, bytes + 16);
    bulk_copy(slot, codes, bytes, full, policy);
    bulk_copy(slot + kTileBytes, scale, 16, full, policy);
    cursor.next(a.slots);
    flight.next(a.slots);
  }

  __device__ __forceinline__ void run() {
    constexpr int kAhead = 2;
    for (int phase = 0; phase < kAhead; ++phase) describe(phase);
    for (int phase = 0; phase < a.phase_count; ++phase) {
      describe(phase + kAhead);
      if (lane == 0) stream(m.shared->phases[phase % kPhaseEntries]);
      __syncwarp();
    }
  }
};

}  // namespace upg::kernels::cuda
