// Four rows by eight blocks of 128 columns on the tensor cores, a row of a block in each lane.
//
// A product of m16n8k32 takes 16 bytes of a lane's levels: of both palettes for two quads of
// columns (codes.cuh). Row q = lane / 4 of its left operand and row q + 8 are both palettes of what
// the four lanes with this q hold, each a quarter of the depth, t = lane % 4. Its right operand has
// a column for every block, zero but in the quarter of the lanes that hold the block (n % 4 for
// block n): so column n of row q is the dot product of one row and one block, and the blocks with
// their own scales stay apart.
#pragma once

#include "kernels/cuda/codes.cuh"
#include "kernels/cuda/mma_bytes.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

// The block and the row of a lane's codes. Eight lanes that read together read four blocks' rows in
// different banks.
__device__ __forceinline__ int codes_block(int lane) { return lane / 16 * 4 + lane % 4; }
__device__ __forceinline__ int codes_row(int lane) { return lane / 4 % 4 ^ (lane & 2); }
// Of its sums: blocks sums_block and one more, of one row, in the lanes that have any.
__device__ __forceinline__ bool has_sums(int lane) { return lane % 4 / 2 == lane / 16; }
__device__ __forceinline__ int sums_block(int lane) { return lane % 4 * 2; }
// Where they are kept: four lanes of a row side by side.
__device__ __forceinline__ int sums_place(int lane) {
  const int row = lane / 4 % 4 ^ (lane % 2 * 2);
  return 4 * row + lane % 2 + lane / 16 * 2;
}

// As Selector, with both halves at the lower end of a word.
struct Selectors {
  uint32_t low[2];
  uint32_t high[2];  // of 4 bits alone
};

template <Kind kKind>
__device__ __forceinline__ Selectors selectors(const uint32_t (&w)[vectors_of(kKind)][4], int g,
                                               int j) {
  const Selector s = PathCodes<kKind>::selector(w, g, j);
  Selectors both = {{s.low, upper_half(s.low)}, {}};
  if constexpr (kKind == Kind::kPath4) both.high[0] = s.high, both.high[1] = upper_half(s.high);
  return both;
}

// Where a lane finds the right operands of a chunk: a block's words (views.h) in one lane of four,
// zeros in the others. Lanes that read together read different banks.
struct ChunkInput {
  const uint8_t* at;
  int step;

  // blocks: of the piece, in shared memory; zeros: kZeroBytes there.
  __device__ __forceinline__ void begin(const uint8_t* blocks, const uint8_t* zeros) {
    const int lane = lane_index();
    const int block = lane / 4;
    const bool has = lane % 4 == block % 4;
    at = has ? blocks + block * kBlockStride : zeros + (lane / 8 + 1) % 4 * 32;
    step = has ? kChunk * kBlockStride : 0;
    asm volatile("" : "+r"(step));  // not a choice every time
  }
  __device__ __forceinline__ void skip(int chunks) { at += chunks * step; }
};

// Sums of products in turns, each of two blocks and both palettes: the lane's dot products
// (has_sums) with the palettes' offsets.
struct ChunkDots {
  int sums[2][4] = {};

  __device__ __forceinline__ int dot(int i) const {
    return (sums[0][i] + sums[0][2 + i]) + (sums[1][i] + sums[1][2 + i]);
  }
};

template <Kind kKind, bool kTwo>
__device__ __forceinline__ ChunkDots dot_chunk(const uint32_t (&words)[vectors_of(kKind)][4],
                                               const Palette& palette, const uint4* input) {
  using Codes = PathCodes<kKind>;
  ChunkDots dots;
  const Selectors last = selectors<kKind>(words, 3, 3);
  Selectors before = last;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const ActivationWords x = load_activations(input, j);
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      const Selectors s = g == 3 && j == 3 ? last : selectors<kKind>(words, g, j);
      uint32_t levels[4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        levels[2 * half] = Codes::look_up(palette.a, s.low[half], s.high[half]);
        if constexpr (kTwo) {
          levels[2 * half + 1] = Codes::look_up(palette.b, before.low[half], before.high[half]);
        }
      }
      mma_bytes(dots.sums[g % 2], levels, x.w[2 * g], x.w[2 * g + 1]);
      before = s;
    }
  }
  return dots;
}

}  // namespace upg::kernels::cuda
