// The coding of rows as paths: codec/path_feedback_simd.h with a lane a state.
//
// As many lanes as there are states look after a row: each carries the survivor that ends in its
// state, with the errors along its path and the path itself, and takes those of the lane it comes
// from by shuffles. All closing codes are tried, one after the other. Operations and their order
// are those of the CPU's search: the same targets give the same codes.
#include <cuda_runtime.h>

#include "compress/cuda/calibration_kernels.h"

namespace upg::compression::cuda {
namespace {

constexpr int kThreads = 128;
constexpr unsigned kAll = 0xffffffffu;
constexpr float kImpossible = 1e30f;
constexpr float kMaxLevel = 63;
constexpr double kGain = 1e-6;  // feedback_coder.cc

__device__ int code_at(uint64_t path, int position) {
  return static_cast<int>(path >> (4 * position)) & 15;
}
__device__ int code_before(uint64_t path, int position) {
  return code_at(path, (position + kChain - 1) % kChain);
}

// The path that ends in this lane's state and begins behind `closing`; returns its cost.
template <int kStates>
__device__ float survive(const float* targets, const DeviceMetric& metric,
                         const float (&level)[kStates], int state, int closing, uint64_t& path) {
  float cost = state == closing ? 0.0f : kImpossible;
  float error[kChain];
  path = 0;
#pragma unroll
  for (int p = 0; p < kChain; ++p) {
    float t = targets[p];
#pragma unroll
    for (int q = 0; q < p; ++q) t = t - metric.carry[q][p] * error[q];
    float best = 0;
    float best_error = 0;
    int from = 0;
#pragma unroll
    for (int s = 0; s < kStates; ++s) {
      const float e = __shfl_sync(kAll, t, s, kStates) - level[s];
      const float total = __shfl_sync(kAll, cost, s, kStates) + metric.weight[p] * (e * e);
      if (s == 0 || total < best) {
        best = total;
        best_error = e;
        from = s;
      }
    }
#pragma unroll
    for (int q = 0; q < p; ++q) error[q] = __shfl_sync(kAll, error[q], from, kStates);
    path = __shfl_sync(kAll, path, from, kStates);
    path |= static_cast<uint64_t>(state) << (4 * p);
    error[p] = best_error;
    cost = best;
  }
  return cost;
}

// The best path of all, the same in every lane of the row.
template <int kStates>
__device__ uint64_t search(const float* targets, const DeviceMetric& metric,
                           const Palettes& palettes, int state) {
  float level[kStates];
#pragma unroll
  for (int s = 0; s < kStates; ++s) {
    level[s] = static_cast<float>(palettes.a[state] + palettes.b[s]);
  }
  float best = 0;
  uint64_t best_path = 0;
#pragma unroll 1
  for (int closing = 0; closing < kStates; ++closing) {
    uint64_t path = 0;
    const float own = survive<kStates>(targets, metric, level, state, closing, path);
    const float total = __shfl_sync(kAll, own, closing, kStates);
    path = __shfl_sync(kAll, path, closing, kStates);
    if (closing > 0 && !(total < best)) continue;
    best = total;
    best_path = path;
  }
  return best_path;
}

// codec::feedback_cost
__device__ double cost_of(const float* targets, const DeviceMetric& metric,
                          const Palettes& palettes, uint64_t path) {
  double error[kChain];
  double cost = 0;
#pragma unroll
  for (int q = 0; q < kChain; ++q) {
    double t = targets[q];
#pragma unroll
    for (int p = 0; p < q; ++p) t -= static_cast<double>(metric.carry[p][q]) * error[p];
    error[q] = t - palettes.a[code_at(path, q)] - palettes.b[code_before(path, q)];
    cost += static_cast<double>(metric.weight[q]) * error[q] * error[q];
  }
  return cost;
}

__device__ float level_of(const Palettes& palettes, uint64_t path, int position) {
  return static_cast<float>(palettes.a[code_at(path, position)] +
                            palettes.b[code_before(path, position)]);
}

// What a block shares: the chain's numbers and the targets of its rows.
template <int kStates>
struct Shared {
  static constexpr int kRows = kThreads / kStates;
  DeviceMetric metric;
  float mix[kChain * kChain];
  Palettes palettes;
  float targets[kRows][kChain];
};

template <int kStates>
__device__ void fill(Shared<kStates>& shared, const DeviceMetric& metric, const float* mix,
                     const Palettes& palettes) {
  for (int i = threadIdx.x; i < kChain * kChain; i += kThreads) {
    shared.mix[i] = mix[i];
    shared.metric.carry[i / kChain][i % kChain] = metric.carry[i / kChain][i % kChain];
  }
  if (threadIdx.x < kChain) {
    shared.metric.weight[threadIdx.x] = metric.weight[threadIdx.x];
    shared.palettes.a[threadIdx.x] = palettes.a[threadIdx.x];
    shared.palettes.b[threadIdx.x] = palettes.b[threadIdx.x];
  }
  __syncthreads();
}

// Lanes of rows past the end take part in shuffles, on the last row, and write nothing.
struct Place {
  int group;
  int state;
  int64_t row;
  bool real;
};
template <int kStates>
__device__ Place place_of(int64_t count) {
  Place place;
  place.group = static_cast<int>(threadIdx.x) / kStates;
  place.state = static_cast<int>(threadIdx.x) % kStates;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kStates) + place.group;
  place.real = row < count;
  place.row = place.real ? row : count - 1;
  return place;
}

template <int kStates>
__global__ void __launch_bounds__(kThreads)
    code_kernel(const RowsView rows, int64_t first, const DeviceChain* chain) {
  __shared__ Shared<kStates> shared;
  fill(shared, chain->feedback, chain->carry_in, rows.palettes);
  const Place at = place_of<kStates>(rows.count);
  const float* carry = rows.carry + at.row * kBlock + first % kBlock;
  const float* target = rows.target + at.row * rows.cols + first;
  const float scale = rows.scale[at.row];
  const float factor = scale > 0 ? kMaxLevel / scale : 0;
  float* targets = shared.targets[at.group];
  for (int q = at.state; q < kChain; q += kStates) {
    float moved = target[q];
    for (int p = 0; p <= q; ++p) moved += carry[p] * shared.mix[kChain * p + q];
    targets[q] = moved * factor;
  }
  __syncwarp();
  const uint64_t path = search<kStates>(targets, shared.metric, shared.palettes, at.state);
  if (!at.real) return;
  const float unit = scale / kMaxLevel;
  const int64_t begin = at.row * rows.cols + first;
  for (int p = at.state; p < kChain; p += kStates) {
    const float value = unit * level_of(shared.palettes, path, p);
    rows.coded[begin + p] = value;
    rows.work[begin + p] = target[p] - value;
    rows.codes[begin + p] = static_cast<uint8_t>(code_at(path, p));
  }
}

template <int kStates>
__global__ void __launch_bounds__(kThreads)
    improve_kernel(const RowsView rows, int64_t first, const DeviceChain* chain) {
  __shared__ Shared<kStates> shared;
  fill(shared, chain->alone, chain->inverse, rows.palettes);
  const Place at = place_of<kStates>(rows.count);
  const int64_t begin = at.row * rows.cols + first;
  const float scale = rows.scale[at.row];
  const float factor = scale > 0 ? kMaxLevel / scale : 0;
  float* targets = shared.targets[at.group];
  for (int p = at.state; p < kChain; p += kStates) {
    float wanted = rows.coded[begin + p];
    for (int q = 0; q < kChain; ++q) wanted += shared.mix[kChain * p + q] * rows.work[begin + q];
    targets[p] = wanted * factor;
  }
  __syncwarp();
  const uint64_t found = search<kStates>(targets, shared.metric, shared.palettes, at.state);
  uint64_t codes = 0;
  for (int p = 0; p < kChain; ++p) codes |= static_cast<uint64_t>(rows.codes[begin + p]) << (4 * p);
  double cost = 0;
  if (at.state < 2) {
    cost = cost_of(targets, shared.metric, shared.palettes, at.state == 0 ? found : codes);
  }
  const double now = __shfl_sync(kAll, cost, 0, kStates);
  const double before = __shfl_sync(kAll, cost, 1, kStates);
  if (!at.real) return;
  const bool better = now < before * (1 - kGain);
  const float unit = scale / kMaxLevel;
  float* changes = rows.carry + at.row * kBlock + first % kBlock;
  for (int p = at.state; p < kChain; p += kStates) {
    const float value = rows.coded[begin + p];
    const float fresh = better ? unit * level_of(shared.palettes, found, p) : value;
    changes[p] = value - fresh;
    if (!better) continue;
    rows.coded[begin + p] = fresh;
    rows.codes[begin + p] = static_cast<uint8_t>(code_at(found, p));
  }
}

// ---- a block a row

constexpr int kRowThreads = 256;

// In a fixed order.
__device__ double block_sum(double own) {
  __shared__ double sums[kRowThreads];
  __syncthreads();
  sums[threadIdx.x] = own;
  for (int step = kRowThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
  }
  __syncthreads();
  return sums[0];
}

__global__ void targets_kernel(const float* source, const int32_t* order, float levels_per_rms,
                               const RowsView rows) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * rows.cols;
  double square = 0;
  for (int64_t c = threadIdx.x; c < rows.cols; c += kRowThreads) {
    const float w = source[begin + order[c]];
    rows.target[begin + c] = w;
    square += static_cast<double>(w) * w;
  }
  square = block_sum(square);
  if (threadIdx.x != 0) return;
  const double rms = sqrt(square / static_cast<double>(rows.cols));
  rows.scale[blockIdx.x] =
      static_cast<float>(kMaxLevel * rms / static_cast<double>(levels_per_rms));
}

__global__ void scales_kernel(const RowsView rows) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * rows.cols;
  float* coded = rows.coded + begin;
  float* gradient = rows.work + begin;
  const float* target_gram = rows.target_gram + begin;
  double product = 0;
  double square = 0;
  for (int64_t c = threadIdx.x; c < rows.cols; c += kRowThreads) {
    product += static_cast<double>(coded[c]) * target_gram[c];
    square += static_cast<double>(coded[c]) * (target_gram[c] - gradient[c]);
  }
  product = block_sum(product);
  square = block_sum(square);
  const double ratio = product / square;
  if (!(ratio > 0.5 && ratio < 2)) return;  // too little input energy to say
  const auto by = static_cast<float>(ratio);
  for (int64_t c = threadIdx.x; c < rows.cols; c += kRowThreads) {
    gradient[c] = target_gram[c] - by * (target_gram[c] - gradient[c]);
    coded[c] *= by;
  }
  if (threadIdx.x == 0) rows.scale[blockIdx.x] *= by;
}

__global__ void losses_kernel(const RowsView rows, double* losses) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * rows.cols;
  double loss = 0;
  double power = 0;
  for (int64_t i = begin + threadIdx.x; i < begin + rows.cols; i += kRowThreads) {
    loss += static_cast<double>(rows.target[i] - rows.coded[i]) * rows.work[i];
    power += static_cast<double>(rows.target[i]) * rows.target_gram[i];
  }
  loss = block_sum(loss);
  power = block_sum(power);
  if (threadIdx.x != 0) return;
  losses[2 * blockIdx.x] = loss;
  losses[2 * blockIdx.x + 1] = power;
}

__global__ void scatter_kernel(const RowsView rows, const int32_t* order, uint8_t* out) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * rows.cols;
  for (int64_t c = threadIdx.x; c < rows.cols; c += kRowThreads) {
    out[begin + order[c]] = rows.codes[begin + c];
  }
}

__global__ void divide_kernel(float* x, int64_t count, int64_t cols, const float* d) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    x[i] /= d[i % cols];
  }
}

__global__ void add_kernel(float* y, const float* x, float share, int64_t count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    y[i] += share * x[i];
  }
}

constexpr unsigned kManyBlocks = 4096;

unsigned chain_blocks(const RowsView& rows) {
  const int64_t threads = rows.count << rows.bits;
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

}  // namespace

void take_targets(const float* source, const int32_t* order, float levels_per_rms,
                  const RowsView& rows, cudaStream_t stream) {
  targets_kernel<<<static_cast<unsigned>(rows.count), kRowThreads, 0, stream>>>(
      source, order, levels_per_rms, rows);
}

void divide_columns(float* x, int64_t rows, int64_t cols, const float* d, cudaStream_t stream) {
  divide_kernel<<<kManyBlocks, kRowThreads, 0, stream>>>(x, rows * cols, cols, d);
}

void add_share(float* y, const float* x, float share, int64_t count, cudaStream_t stream) {
  add_kernel<<<kManyBlocks, kRowThreads, 0, stream>>>(y, x, share, count);
}

void code_chain(const RowsView& rows, int64_t first, const DeviceChain* chain,
                cudaStream_t stream) {
  const unsigned blocks = chain_blocks(rows);
  if (rows.bits == 2) return code_kernel<4><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
  if (rows.bits == 3) return code_kernel<8><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
  code_kernel<16><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
}

void improve_chain(const RowsView& rows, int64_t first, const DeviceChain* chain,
                   cudaStream_t stream) {
  const unsigned blocks = chain_blocks(rows);
  if (rows.bits == 2) return improve_kernel<4><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
  if (rows.bits == 3) return improve_kernel<8><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
  improve_kernel<16><<<blocks, kThreads, 0, stream>>>(rows, first, chain);
}

void refit_scales(const RowsView& rows, cudaStream_t stream) {
  scales_kernel<<<static_cast<unsigned>(rows.count), kRowThreads, 0, stream>>>(rows);
}

void row_losses(const RowsView& rows, double* losses, cudaStream_t stream) {
  losses_kernel<<<static_cast<unsigned>(rows.count), kRowThreads, 0, stream>>>(rows, losses);
}

void scatter_codes(const RowsView& rows, const int32_t* order, uint8_t* out, cudaStream_t stream) {
  scatter_kernel<<<static_cast<unsigned>(rows.count), kRowThreads, 0, stream>>>(rows, order, out);
}

}  // namespace upg::compression::cuda
