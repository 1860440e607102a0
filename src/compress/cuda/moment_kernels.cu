// Moments into the basis and the order of the codes, and their factor.
#include <cuda_runtime.h>

#include "compress/cuda/calibration_kernels.h"

namespace upg::compression::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;

unsigned blocks_for(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 65536 ? (blocks > 0 ? blocks : 1) : 65536);
}

// body(i) for i in [0, count), by as many threads as there are.
template <class Body>
__global__ void each_kernel(int64_t count, Body body) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    body(i);
  }
}

template <class Body>
void for_each(int64_t count, cudaStream_t stream, const Body& body) {
  each_kernel<<<blocks_for(count), kThreads, 0, stream>>>(count, body);
}

// A block of 128 columns of a row a warp: four neighbours a lane.
__global__ void rotate_kernel(float* x, int64_t blocks, int64_t blocks_per_row,
                              const uint8_t* signs) {
  constexpr float kNorm = 0.08838834764831845f;  // 1 / sqrt(128)
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (at >= blocks) return;
  float4* values = reinterpret_cast<float4*>(x) + at * 32 + lane;
  const int bits = signs[at % blocks_per_row * 16 + lane / 2] >> (4 * (lane % 2));
  const float4 v = *values;
  float e[4] = {(bits & 1) != 0 ? -v.x : v.x, (bits & 2) != 0 ? -v.y : v.y,
                (bits & 4) != 0 ? -v.z : v.z, (bits & 8) != 0 ? -v.w : v.w};
  const float a = e[0] + e[1];
  const float b = e[0] - e[1];
  const float c = e[2] + e[3];
  const float d = e[2] - e[3];
  e[0] = a + c;
  e[1] = b + d;
  e[2] = a - c;
  e[3] = b - d;
  for (int mask = 1; mask < 32; mask *= 2) {
    for (int i = 0; i < 4; ++i) {
      const float other = __shfl_xor_sync(0xffffffffu, e[i], mask);
      e[i] = (lane & mask) != 0 ? other - e[i] : e[i] + other;
    }
  }
  *values = make_float4(e[0] * kNorm, e[1] * kNorm, e[2] * kNorm, e[3] * kNorm);
}

__global__ void transpose_kernel(const float* in, int64_t n, float* out) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kTile;
  for (unsigned i = threadIdx.y; i < kTile; i += blockDim.y) {
    tile[i][threadIdx.x] = in[(row + i) * n + col + threadIdx.x];
  }
  __syncthreads();
  for (unsigned i = threadIdx.y; i < kTile; i += blockDim.y) {
    out[(col + i) * n + row + threadIdx.x] = tile[threadIdx.x][i];
  }
}

}  // namespace

void subtract(const float* a, const float* b, int64_t count, float* out, cudaStream_t stream) {
  for_each(count, stream, [=] __device__(int64_t i) { out[i] = a[i] - b[i]; });
}

void pad_rows(const float* in, int64_t rows, int64_t cols, int64_t out_rows, int64_t padded,
              float* out, cudaStream_t stream) {
  for_each(out_rows * padded, stream, [=] __device__(int64_t i) {
    const int64_t row = i / padded;
    const int64_t col = i % padded;
    out[i] = row < rows && col < cols ? in[row * cols + col] : 0.0f;
  });
}

void rotate_rows(float* x, int64_t rows, int64_t cols, const uint8_t* signs, cudaStream_t stream) {
  const int64_t blocks = rows * (cols / kBlock);
  constexpr int kWarps = kThreads / 32;
  if (blocks == 0) return;
  rotate_kernel<<<static_cast<unsigned>((blocks + kWarps - 1) / kWarps), kThreads, 0, stream>>>(
      x, blocks, cols / kBlock, signs);
}

void transpose(const float* in, int64_t n, float* out, cudaStream_t stream) {
  const auto tiles = static_cast<unsigned>(n / kTile);
  transpose_kernel<<<dim3(tiles, tiles), dim3(kTile, 8), 0, stream>>>(in, n, out);
}

void gather(const float* in, int64_t rows, int64_t cols, const int32_t* row_order,
            const int32_t* order, float* out, cudaStream_t stream) {
  for_each(rows * cols, stream, [=] __device__(int64_t i) {
    const int64_t row = i / cols;
    const int64_t from = row_order == nullptr ? row : row_order[row];
    out[i] = in[from * cols + order[i % cols]];
  });
}

void find_not_finite(const float* x, int64_t count, float* found, cudaStream_t stream) {
  for_each(count, stream, [=] __device__(int64_t i) {
    if (!isfinite(x[i])) *found = x[i];
  });
}

void diagonal(const float* x, int64_t n, float* out, cudaStream_t stream) {
  for_each(n, stream, [=] __device__(int64_t i) { out[i] = x[i * (n + 1)]; });
}

void reverse_damped(const float* h, int64_t n, double add, double* out, cudaStream_t stream) {
  for_each(n * n, stream, [=] __device__(int64_t i) {
    const int64_t from = n * n - 1 - i;
    // Rounded as the CPU has it, which adds before it widens.
    out[i] = from % (n + 1) == 0 ? h[from] + static_cast<float>(add) : h[from];
  });
}

void complete_factor(const double* l, int64_t n, float* v, float* d, cudaStream_t stream) {
  for_each(n * n, stream, [=] __device__(int64_t i) {
    const int64_t row = i / n;
    const int64_t col = i % n;
    const double pivot = l[(n - 1 - col) * (n + 1)];
    if (row == col) d[row] = static_cast<float>(pivot * pivot);
    const double below = row < col ? l[(n - 1 - row) * n + n - 1 - col] / pivot : 0.0;
    v[i] = row == col ? 1.0f : static_cast<float>(below);
  });
}

void diagonal_blocks(const float* x, int64_t n, float* out, cudaStream_t stream) {
  for_each(n * kChain, stream, [=] __device__(int64_t i) {
    const int64_t chain = i / (kChain * kChain);
    const int64_t row = chain * kChain + i % (kChain * kChain) / kChain;
    out[i] = x[row * n + chain * kChain + i % kChain];
  });
}

}  // namespace upg::compression::cuda
