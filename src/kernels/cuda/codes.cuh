// From codes to levels: what one thread does with the vectors of one row and block.
//
// A word of a vector, masked with 0x77777777, holds two selectors of PRMT, each for four look-ups
// in eight bytes: low nibbles are the codes of columns with h = 0, high nibbles those with h = 1
// (codec/path_layout.h), so four bytes of a look-up are the columns (h, b) = (0, 2s), (1, 2s),
// (0, 2s + 1), (1, 2s + 1) of word j. That is a quad (g, j, s); activations are stored in the same
// order (views.h). The code before that of (g, j) is that of (g - 1, j), and before (0, j) that of
// (3, j - 1): selectors already at hand.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

// Selectors of one word: eight codes. PRMT repeats the sign of the byte it takes, zero in a
// palette, where the fourth bit is set: of 4 bits, `low` gives nothing for codes of the palette's
// upper half and `high` nothing for those of the lower one.
struct Selector {
  uint32_t low;  // two PRMT selectors each
  uint32_t high;
};

template <Kind kKind>
struct PathCodes {
  static constexpr int kVectors = vectors_of(kKind);
  using Words = uint32_t[kVectors][4];

  // g and j are constants after unrolling.
  static __device__ __forceinline__ Selector selector(const Words& w, int g, int j) {
    Selector s = {};
    if constexpr (kKind == Kind::kPath2) {
      const uint32_t word = w[g / 2][j];
      s.low = g % 2 == 0 ? (word & 0x03030303u) | (word << 2 & 0x30303030u)
                         : (word >> 4 & 0x03030303u) | (word >> 2 & 0x30303030u);
    } else if constexpr (kKind == Kind::kPath3) {
      s.low = g < 3 ? w[g < 3 ? g : 0][j] & 0x77777777u
                    : (w[0][j] >> 3 & 0x11111111u) | (w[1][j] >> 2 & 0x22222222u) |
                          (w[2][j] >> 1 & 0x44444444u);
    } else {
      s.low = w[g][j];
      s.high = s.low ^ 0x88888888u;
    }
    return s;
  }

  // Four levels + 64.
  static __device__ __forceinline__ uint32_t levels(const uint32_t (&palette)[4], const Selector& s,
                                                    int half) {
    return look_up(palette, half == 0 ? s.low : s.low >> 16, half == 0 ? s.high : s.high >> 16);
  }
  // low, high: selectors in the lower half, whatever is above them.
  static __device__ __forceinline__ uint32_t look_up(const uint32_t (&palette)[4], uint32_t low,
                                                     uint32_t high) {
    const uint32_t first = prmt(palette[0], palette[1], low);
    if constexpr (kKind != Kind::kPath4) return first;
    return first + prmt(palette[2], palette[3], high);
  }

  // Calls quad(g, j, s, a, b): levels + 64 of both palettes (b without meaning for one).
  template <bool kTwo, class Quad>
  static __device__ __forceinline__ void for_each_quad(const Words& w, const Palette& palette,
                                                       const Quad& quad) {
    Selector before = selector(w, 3, 3);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        const Selector s = selector(w, g, j);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          quad(g, j, half, levels(palette.a, s, half), kTwo ? levels(palette.b, before, half) : 0);
        }
        before = s;
      }
    }
  }
};

// The eight words of block activations that meet word j: [g][s].
struct ActivationWords {
  uint32_t w[8];
};

__device__ __forceinline__ ActivationWords load_activations(const uint4* q, int j) {
  const uint4 a = q[2 * j];
  const uint4 b = q[2 * j + 1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

// Sum of level * q over one row and block. q: 8 vectors in the order of views.h; sum: of q.
template <Kind kKind, bool kTwo>
__device__ __forceinline__ int dot_block(const uint32_t (&w)[vectors_of(kKind)][4],
                                         const Palette& palette, const uint4* q, int sum) {
  if constexpr (kKind == Kind::kInt8) {
    int dot = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const ActivationWords x = load_activations(q, j);
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        dot = dp4a_signed(prmt(w[2 * g][j], w[2 * g + 1][j], 0x5140), x.w[2 * g], dot);
        dot = dp4a_signed(prmt(w[2 * g][j], w[2 * g + 1][j], 0x7362), x.w[2 * g + 1], dot);
      }
    }
    return dot;
  } else {
    int dot_a = -(kTwo ? 2 : 1) * kLevelOffset * sum;
    int dot_b = 0;
    ActivationWords x;
    PathCodes<kKind>::template for_each_quad<kTwo>(
        w, palette, [&](int g, int j, int half, uint32_t a, uint32_t b) {
          if (g == 0 && half == 0) x = load_activations(q, j);
          dot_a = dp4a_unsigned(a, x.w[2 * g + half], dot_a);
          if (kTwo) dot_b = dp4a_unsigned(b, x.w[2 * g + half], dot_b);
        });
    return dot_a + dot_b;
  }
}

// The vectors of one row of a group: w[v] = the 16 bytes at 64 v.
template <int kVectors>
__device__ __forceinline__ void load_words(const uint8_t* at, uint32_t (&w)[kVectors][4]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const uint4 vector = *reinterpret_cast<const uint4*>(at + 64 * v);
    w[v][0] = vector.x;
    w[v][1] = vector.y;
    w[v][2] = vector.z;
    w[v][3] = vector.w;
  }
}

// What a row's integer sums are multiplied by, besides its scale.
template <Kind kKind>
__device__ __forceinline__ float row_factor(float scale) {
  return __fdiv_rn(scale, kKind == Kind::kInt8 ? 127.0f : 63.0f);
}

// Calls body.template operator()<kind, two palettes>() for a kind that takes integers.
#pragma nv_exec_check_disable
template <class Body>
__host__ __device__ __forceinline__ void dispatch_kind(Kind kind, bool two_palettes,
                                                       const Body& body) {
  switch (kind) {
    case Kind::kPath2:
      return two_palettes ? body.template operator()<Kind::kPath2, true>()
                          : body.template operator()<Kind::kPath2, false>();
    case Kind::kPath3:
      return two_palettes ? body.template operator()<Kind::kPath3, true>()
                          : body.template operator()<Kind::kPath3, false>();
    case Kind::kPath4:
      return two_palettes ? body.template operator()<Kind::kPath4, true>()
                          : body.template operator()<Kind::kPath4, false>();
    case Kind::kInt8:
      return body.template operator()<Kind::kInt8, false>();
    default:
      return;
  }
}

}  // namespace upg::kernels::cuda
