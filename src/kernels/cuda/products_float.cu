// Products of the codecs that take float activations, and the rows of an embedding: a warp a row.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kInputs = 4;

__device__ void store(const OutputView& out, int64_t input, int64_t row, float value) {
  float& y = out.y[input * out.stride + row];
  if (out.bias != nullptr) value += out.bias[row];
  y = out.add ? y + value : value;
}

template <Kind kKind>
__device__ float element(const MatrixView& w, int64_t at) {
  if (kKind == Kind::kF32) return reinterpret_cast<const float*>(w.codes)[at];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(w.codes)[at];
  return kKind == Kind::kF16 ? half_bits_to_float(bits) : bf16_bits_to_float(bits);
}

// Four inputs at once, so that a weight is read once for them. x.x is padded with zeros.
template <Kind kKind>
__global__ void multiply_raw(const MatrixView w, const InputView x, const OutputView out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kInputs;
  if (row >= w.rows) return;
  const int64_t stride = x.blocks * kColumns;
  const int64_t count = min(static_cast<int64_t>(kInputs), x.rows - first);
  float sums[kInputs] = {};
#pragma unroll 4
  for (int64_t column = lane; column < w.cols; column += kWarp) {
    const float weight = element<kKind>(w, row * w.cols + column);
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      if (i < count) sums[i] = fmaf(weight, x.x[(first + i) * stride + column], sums[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    const float sum = warp_sum(sums[i]);
    if (lane == 0 && i < count) store(out, first + i, row, sum);
  }
}

__global__ void multiply_mdcsr(const MatrixView w, const InputView x, const OutputView out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kInputs;
  if (row >= w.rows) return;
  const int64_t stride = x.blocks * kColumns;
  const int64_t count = min(static_cast<int64_t>(kInputs), x.rows - first);
  float sums[kInputs] = {};
  for_each_mdcsr(w, row, lane, [&](int column, float weight) {
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      if (i < count) sums[i] = fmaf(weight, x.x[(first + i) * stride + column], sums[i]);
    }
  });
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    const float sum = warp_sum(sums[i]);
    if (lane == 0 && i < count) store(out, first + i, row, sum);
  }
}

__global__ void embed_kernel(const MatrixView w, const int32_t* ids, float* x) {
  const int64_t token = blockIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column < w.cols) x[token * w.cols + column] = weight_at(w, ids[token], column);
}

// x was set to zero.
__global__ void embed_mdcsr(const MatrixView w, const int32_t* ids, float* x) {
  const int64_t token = blockIdx.x;
  for_each_mdcsr(w, ids[token], static_cast<int>(threadIdx.x),
                 [&](int column, float weight) { x[token * w.cols + column] = weight; });
}

}  // namespace

void multiply_floats(const MatrixView& w, const InputView& x, const OutputView& out,
                     cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((w.rows + kWarps - 1) / kWarps),
                  static_cast<unsigned>((x.rows + kInputs - 1) / kInputs));
  constexpr int kThreads = kWarps * kWarp;
  switch (w.kind) {
    case Kind::kF32:
      return multiply_raw<Kind::kF32><<<grid, kThreads, 0, stream>>>(w, x, out);
    case Kind::kF16:
      return multiply_raw<Kind::kF16><<<grid, kThreads, 0, stream>>>(w, x, out);
    case Kind::kBF16:
      return multiply_raw<Kind::kBF16><<<grid, kThreads, 0, stream>>>(w, x, out);
    default:
      return multiply_mdcsr<<<grid, kThreads, 0, stream>>>(w, x, out);
  }
}

void embed(const MatrixView& w, const int32_t* ids, int64_t tokens, float* x, cudaStream_t stream) {
  constexpr int kThreads = 256;
  if (w.kind == Kind::kMdcsr) {
    cudaMemsetAsync(x, 0, sizeof(float) * static_cast<size_t>(tokens * w.cols), stream);
    embed_mdcsr<<<static_cast<unsigned>(tokens), kWarp, 0, stream>>>(w, ids, x);
    return;
  }
  const dim3 grid(static_cast<unsigned>((w.cols + kThreads - 1) / kThreads),
                  static_cast<unsigned>(tokens));
  embed_kernel<<<grid, kThreads, 0, stream>>>(w, ids, x);
}

}  // namespace upg::kernels::cuda
