// Kernels of calibration, queued on a stream. Matrices are row-major in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace upg::compression::cuda {

// ---- moments (moment_kernels.cu)

// out = a - b
void subtract(const float* a, const float* b, int64_t count, float* out, cudaStream_t stream);
// Rows of `cols` floats into rows of `padded` ones (zeros behind); `rows` rows, `out_rows` written.
void pad_rows(const float* in, int64_t rows, int64_t cols, int64_t out_rows, int64_t padded,
              float* out, cudaStream_t stream);
// In place: codec::rotate.
void rotate_rows(float* x, int64_t rows, int64_t cols, const uint8_t* signs, cudaStream_t stream);
void transpose(const float* in, int64_t n, float* out, cudaStream_t stream);
// out[i, j] = in[order[i], order[j]]; rows stay where row_order is null.
void gather(const float* in, int64_t rows, int64_t cols, const int32_t* row_order,
            const int32_t* order, float* out, cudaStream_t stream);
// *found = the first that is not finite, if any is (set to 0 before).
void find_not_finite(const float* x, int64_t count, float* found, cudaStream_t stream);
// out[i] = x[i, i]
void diagonal(const float* x, int64_t n, float* out, cudaStream_t stream);

// ---- the factor

// out = h with both orders reversed, in double, `add` on its diagonal
void reverse_damped(const float* h, int64_t n, double add, double* out, cudaStream_t stream);
// From the lower factor l of that: v unit upper triangular, d as linear_algebra.h's factorise().
void complete_factor(const double* l, int64_t n, float* v, float* d, cudaStream_t stream);
// out[chain] = x[16 chain ..., 16 chain ...], [n / 16, 16, 16]
void diagonal_blocks(const float* x, int64_t n, float* out, cudaStream_t stream);

// ---- rows (coding_kernels.cu)

inline constexpr int kChain = 16;
inline constexpr int kBlock = 128;

struct DeviceMetric {
  float weight[kChain];
  float carry[kChain][kChain];
};
struct DeviceChain {
  DeviceMetric feedback;
  float carry_in[kChain * kChain];
  DeviceMetric alone;
  float inverse[kChain * kChain];
};

struct Palettes {
  int8_t a[16];
  int8_t b[16];
};

// A chunk of rows on its way, [count, cols] in coding order.
struct RowsView {
  int64_t count;
  int64_t cols;
  int bits;
  Palettes palettes;
  float* target;
  float* coded;
  float* work;
  float* target_gram;
  float* carry;  // [count, 128]
  float* scale;  // [count]
  uint8_t* codes;
};

// target[r, c] = source[r, order[c]]; scale from the row's root mean square.
void take_targets(const float* source, const int32_t* order, float levels_per_rms,
                  const RowsView& rows, cudaStream_t stream);
// x[r, c] /= d[c]
void divide_columns(float* x, int64_t rows, int64_t cols, const float* d, cudaStream_t stream);
// y += share * x
void add_share(float* y, const float* x, float share, int64_t count, cudaStream_t stream);
// The chain that begins at `first`: codes, coded and work = target - coded; carry: [row, first %
// 128 ...] what earlier columns left.
void code_chain(const RowsView& rows, int64_t first, const DeviceChain* chain, cudaStream_t stream);
// The same chain against the errors of all others; carry becomes what changed of target - coded.
void improve_chain(const RowsView& rows, int64_t first, const DeviceChain* chain,
                   cudaStream_t stream);
// Scales by least squares; work: [count, cols] (target - coded) H, adjusted.
void refit_scales(const RowsView& rows, cudaStream_t stream);
// losses: [count, 2], loss and power of each row
void row_losses(const RowsView& rows, double* losses, cudaStream_t stream);
// out[r, order[c]] = codes[r, c]
void scatter_codes(const RowsView& rows, const int32_t* order, uint8_t* out, cudaStream_t stream);

}  // namespace upg::compression::cuda
