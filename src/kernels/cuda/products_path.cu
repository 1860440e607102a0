// Products of the integer codecs, the plain way: a warp takes four interleaved rows, a lane one row
// of every eighth block. Blocks are summed in float by each lane in column order, the eight lanes
// of a row at the end: the same bits on every run.
#include "kernels/cuda/codes.cuh"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 8;

template <Kind kKind, bool kTwo, int kInputs>
__global__ void __launch_bounds__(kWarps* kWarp)
    multiply_kernel(const MatrixView w, const InputView x, const OutputView out) {
  constexpr int kVectors = vectors_of(kKind);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (group * codec::kGroupRows >= w.rows) return;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kInputs;
  const uint8_t* codes = w.codes + group * w.blocks * kVectors * 64 + lane % 4 * 16;

  float sums[kInputs] = {};
  for (int64_t block = lane / 4; block < w.blocks; block += kWarp / 4) {
    uint32_t words[kVectors][4];
    load_words<kVectors>(codes + block * kVectors * 64, words);
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      if (first + i >= x.rows) break;
      const int64_t at = (first + i) * x.blocks + block;
      const auto* q = reinterpret_cast<const uint4*>(x.q + at * kColumns);
      const int dot = dot_block<kKind, kTwo>(words, w.palette, q, x.sum[at]);
      sums[i] = __fadd_rn(sums[i], __fmul_rn(static_cast<float>(dot), x.scale[at]));
    }
  }
  const int64_t row = group * codec::kGroupRows + lane;
  const float factor = lane < 4 && row < w.rows ? row_factor<kKind>(w.scale[row]) : 0.0f;
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
#pragma unroll
    for (int mask = 4; mask < kWarp; mask *= 2) {
      sums[i] += __shfl_xor_sync(kAllLanes, sums[i], mask);
    }
    if (first + i >= x.rows || lane >= 4 || row >= w.rows) continue;
    float& y = out.y[(first + i) * out.stride + row];
    float value = __fmul_rn(sums[i], factor);
    if (out.bias != nullptr) value += out.bias[row];
    y = out.add ? y + value : value;
  }
}

struct Launch {
  const MatrixView& w;
  const InputView& x;
  const OutputView& out;
  cudaStream_t stream;

  template <Kind kKind, bool kTwo>
  void operator()() const {
    run<kKind, kTwo, 1>();
  }

  template <Kind kKind, bool kTwo, int kInputs>
  void run() const {
    const int64_t groups = (w.rows + codec::kGroupRows - 1) / codec::kGroupRows;
    const dim3 grid(static_cast<unsigned>((groups + kWarps - 1) / kWarps),
                    static_cast<unsigned>((x.rows + kInputs - 1) / kInputs));
    multiply_kernel<kKind, kTwo, kInputs><<<grid, kWarps * kWarp, 0, stream>>>(w, x, out);
  }
};

}  // namespace

void multiply_integers(const MatrixView& w, const InputView& x, const OutputView& out,
                       cudaStream_t stream) {
  dispatch_kind(w.kind, w.two_palettes, Launch{w, x, out, stream});
}

}  // namespace upg::kernels::cuda
