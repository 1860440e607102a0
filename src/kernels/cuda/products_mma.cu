// Products of the integer codecs for several inputs, on the tensor cores: weights are decoded in
// registers into the left operand of m16n8k32, inputs come as they were prepared.
//
// A lane decodes word j = lane % 4 of the vectors of rows lane / 4 and lane / 4 + 8; quad (g, j, s)
// is its part of the left operand of step g, and word [g][s] of the same j of input lane / 4 that
// of the right one: which column a place of k is does not matter as long as both sides agree. The
// sums of a block begin at what the levels' offset adds too much. Blocks are added up in float in
// column order by each warp, the warps of a row tile in their order at the end.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma_bytes.cuh"
#include "kernels/cuda/row_words.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kTileRows = 16;
constexpr int kTileInputs = 8;

template <bool kUnsigned>
__device__ __forceinline__ void mma(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kUnsigned) {
    mma_bytes(c, a, b0, b1);
  } else {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// A warp has kRows tiles of sixteen rows and kTiles tiles of eight inputs; kSplit warps share the
// columns.
template <Kind kKind, bool kTwo, int kRows, int kTiles, int kSplit>
__global__ void __launch_bounds__(kWarps* kWarp)
    mma_kernel(const MatrixView w, const InputView x, const OutputView out) {
  constexpr int kVectors = vectors_of(kKind);
  constexpr int kOffset = kKind == Kind::kInt8 ? 0 : (kTwo ? 2 : 1) * kLevelOffset;
  static_assert(kRows == 1 || kSplit == 1);
  constexpr int kWarpRows = kRows * kTileRows;
  constexpr int kRowTiles = kWarps / kSplit;
  __shared__ float partial[kSplit > 1 ? kWarps * kTiles * 4 * kWarp : 1];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int part = warp % kSplit;
  const int64_t tile = static_cast<int64_t>(blockIdx.x) * kRowTiles + warp / kSplit;
  const int64_t first_input = static_cast<int64_t>(blockIdx.y) * (kTiles * kTileInputs);
  const int64_t row = tile * kWarpRows + lane / 4;
  const bool active = tile * kWarpRows < codec::padded_rows(w.rows);  // of 32 rows or none

  float sums[kRows][kTiles][4] = {};
  if (active) {
    const int64_t group_bytes = w.blocks * kVectors * 64;
    const uint8_t* upper = w.codes + row / 4 * group_bytes + row % 4 * 16 + lane % 4 * 4;
    // Eight rows further lie two groups further.
    int64_t input[kTiles];      // whose words this lane brings
    int64_t result[kTiles][2];  // whose sums it holds
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int64_t base = first_input + t * kTileInputs;
      input[t] = min(base + lane / 4, x.rows - 1);
      result[t][0] = min(base + lane % 4 * 2, x.rows - 1);
      result[t][1] = min(base + lane % 4 * 2 + 1, x.rows - 1);
    }
    RowWords<kKind> next[2 * kRows];
    const auto load = [&](int64_t block) {
#pragma unroll
      for (int i = 0; i < 2 * kRows; ++i) {
        next[i].load_global(upper + 2 * i * group_bytes + block * kVectors * 64);
      }
    };
    if (part < w.blocks) load(part);
    for (int64_t block = part; block < w.blocks; block += kSplit) {
      uint32_t quads[2 * kRows][4][2];
#pragma unroll
      for (int i = 0; i < 2 * kRows; ++i) next[i].template quads<kTwo>(w.palette, 1, quads[i]);
      if (block + kSplit < w.blocks) load(block + kSplit);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const auto* q = reinterpret_cast<const uint4*>(
            x.q + (input[t] * x.blocks + block) * kColumns + lane % 4 * 32);
        const uint4 q0 = __ldg(q);
        const uint4 q1 = __ldg(q + 1);
        const uint32_t words[8] = {q0.x, q0.y, q0.z, q0.w, q1.x, q1.y, q1.z, q1.w};
        const int64_t at0 = result[t][0] * x.blocks + block;
        const int64_t at1 = result[t][1] * x.blocks + block;
        const int start0 = -kOffset * __ldg(x.sum + at0);
        const int start1 = -kOffset * __ldg(x.sum + at1);
        const float scale0 = __ldg(x.scale + at0);
        const float scale1 = __ldg(x.scale + at1);
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
          int c[4] = {start0, start1, start0, start1};
#pragma unroll
          for (int g = 0; g < 4; ++g) {
            const uint32_t a[4] = {quads[2 * m][g][0], quads[2 * m + 1][g][0], quads[2 * m][g][1],
                                   quads[2 * m + 1][g][1]};
            mma<kOffset != 0>(c, a, words[2 * g], words[2 * g + 1]);
          }
          float(&sum)[4] = sums[m][t];
          sum[0] = __fadd_rn(sum[0], __fmul_rn(static_cast<float>(c[0]), scale0));
          sum[1] = __fadd_rn(sum[1], __fmul_rn(static_cast<float>(c[1]), scale1));
          sum[2] = __fadd_rn(sum[2], __fmul_rn(static_cast<float>(c[2]), scale0));
          sum[3] = __fadd_rn(sum[3], __fmul_rn(static_cast<float>(c[3]), scale1));
        }
      }
    }
  }
  if constexpr (kSplit > 1) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        partial[((warp * kTiles + t) * 4 + i) * kWarp + lane] = sums[0][t][i];
    }
    __syncthreads();
    if (part != 0) return;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int p = 1; p < kSplit; ++p) {
          sums[0][t][i] += partial[(((warp + p) * kTiles + t) * 4 + i) * kWarp + lane];
        }
      }
    }
  }
  if (!active) return;
#pragma unroll
  for (int eight = 0; eight < 2 * kRows; ++eight) {
    const int64_t r = row + 8 * eight;
    if (r >= w.rows) continue;
    const float factor = row_factor<kKind>(w.scale[r]);
    const float bias = out.bias != nullptr ? out.bias[r] : 0.0f;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t to = first_input + t * kTileInputs + lane % 4 * 2 + i;
        if (to >= x.rows) continue;
        float& y = out.y[to * out.stride + r];
        float value = __fmul_rn(sums[eight / 2][t][eight % 2 * 2 + i], factor);
        if (out.bias != nullptr) value += bias;
        y = out.add ? y + value : value;
      }
    }
  }
}

struct Launch {
  const MatrixView& w;
  const InputView& x;
  const OutputView& out;
  cudaStream_t stream;

  template <Kind kKind, bool kTwo>
  void operator()() const {
    if (x.rows <= kTileInputs) return run<kKind, kTwo, 1, 1, 8>();
    if (x.rows <= 4 * kTileInputs) return run<kKind, kTwo, 1, 4, 4>();
    if (x.rows <= 8 * kTileInputs) return run<kKind, kTwo, 1, 8, 4>();
    return run<kKind, kTwo, 2, 8, 1>();
  }

  template <Kind kKind, bool kTwo, int kRows, int kTiles, int kSplit>
  void run() const {
    constexpr int kBlockRows = kWarps / kSplit * kRows * kTileRows;
    const int64_t rows = codec::padded_rows(w.rows);
    const dim3 grid(
        static_cast<unsigned>((rows + kBlockRows - 1) / kBlockRows),
        static_cast<unsigned>((x.rows + kTiles * kTileInputs - 1) / (kTiles * kTileInputs)));
    mma_kernel<kKind, kTwo, kRows, kTiles, kSplit><<<grid, kWarps * kWarp, 0, stream>>>(w, x, out);
  }
};

}  // namespace

void multiply_on_tensor_cores(const MatrixView& w, const InputView& x, const OutputView& out,
                              cudaStream_t stream) {
  dispatch_kind(w.kind, w.two_palettes, Launch{w, x, out, stream});
}

}  // namespace upg::kernels::cuda
