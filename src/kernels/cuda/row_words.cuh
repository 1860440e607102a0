// Weights for the tensor cores: a lane holds word j = lane % 4 of the vectors of one row and
// decodes it to the bytes that m16n8k32 and its larger kin take as their left operand.
#pragma once

#include "kernels/cuda/codes.cuh"

namespace upg::kernels::cuda {

// One word of each vector of a row and block.
template <Kind kKind>
struct RowWords {
  uint32_t w[vectors_of(kKind)][4];  // [.][0] alone is used: words as PathCodes takes them

  __device__ __forceinline__ void load_global(const uint8_t* at) {
#pragma unroll
    for (int v = 0; v < vectors_of(kKind); ++v) {
      w[v][0] = __ldg(reinterpret_cast<const uint32_t*>(at + 64 * v));
    }
  }
  __device__ __forceinline__ void load(const uint8_t* at) {
#pragma unroll
    for (int v = 0; v < vectors_of(kKind); ++v) {
      w[v][0] = *reinterpret_cast<const uint32_t*>(at + 64 * v);
    }
  }

  // quad[g][s] of this lane's word: levels, plus the palettes' offsets for path codes. By all lanes
  // of a warp.
  // one: 1, for the sum of both palettes. kSpare: where the pipe of multiplications is idle, upper
  // halves come from there too.
  template <bool kTwo, bool kSpare = false>
  __device__ __forceinline__ void quads(const Palette& palette, uint32_t one,
                                        uint32_t (&quad)[4][2]) const {
    if constexpr (kKind == Kind::kInt8) {
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        quad[g][0] = prmt(w[2 * g][0], w[2 * g + 1][0], 0x5140);
        quad[g][1] = prmt(w[2 * g][0], w[2 * g + 1][0], 0x7362);
      }
    } else {
      using Codes = PathCodes<kKind>;
      const int lane = static_cast<int>(threadIdx.x) % kWarp;
      const int left = (lane & ~3) | ((lane + 3) & 3);  // has word j - 1
      const Selector last = Codes::selector(w, 3, 0);
      Selector before = {};
      if constexpr (kTwo) {
        before.low = __shfl_sync(kAllLanes, last.low, left);
        if constexpr (kKind == Kind::kPath4) before.high = before.low ^ 0x88888888u;
      }
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        const Selector s = g == 3 ? last : Codes::selector(w, g, 0);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          quad[g][half] = levels_of<kSpare>(palette.a, s, half);
          // Bytes of both palettes together stay below 256.
          if constexpr (kTwo) {
            quad[g][half] = quad[g][half] * one + levels_of<kSpare>(palette.b, before, half);
          }
        }
        before = s;
      }
    }
  }

 private:
  template <bool kSpare>
  static __device__ __forceinline__ uint32_t levels_of(const uint32_t (&palette)[4],
                                                       const Selector& s, int half) {
    using Codes = PathCodes<kKind>;
    if (!kSpare || half == 0) return Codes::levels(palette, s, half);
    return Codes::look_up(palette, upper_half(s.low),
                          kKind == Kind::kPath4 ? upper_half(s.high) : 0);
  }
};

}  // namespace upg::kernels::cuda
