// Products with MdCSR matrices: a row's non-zeros are decoded some at a time, then gathered from
// every input.
#include "codec/primes.h"
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/math.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kRun = 64;         // non-zeros decoded at a time
constexpr int64_t kInputs = 64;  // inputs that a decoded run meets

struct Run {
  float value[kRun];
  int32_t column[kRun];
  int count;
};

// The run from non-zero `k`; `column` is that of the non-zero before it, and moves on. A value is
// whole: |value * prime| < 2^24.
inline void decode_run(const codec::MdcsrMatrix& w, uint32_t k, uint32_t end, int32_t& column,
                       Run& run) {
  const uint32_t* primes = reinterpret_cast<const uint32_t*>(&codec::kPrimes);
  run.count = end - k < kRun ? static_cast<int>(end - k) : kRun;
  for (int i = 0; i < run.count; ++i) {
    const int32_t prime = static_cast<int32_t>(primes[w.prime_indices[k + i]]);
    column += w.deltas[k + i];
    run.column[i] = column;
    run.value[i] = static_cast<float>(w.values[k + i] * prime);
  }
}

inline float gather_dot(const Run& run, const float* x) {
  Floats total = zeros();
  float rest = 0;
  for_vectors(
      run.count,
      [&](int64_t i) {
        total = multiply_add(load(run.value + i), gather_floats(x, run.column + i), total);
      },
      [&](int64_t i, int) {
        for (; i < run.count; ++i) rest += run.value[i] * x[run.column[i]];
      });
  return sum_of_lanes(total) + rest;
}

void multiply_row(const codec::MdcsrMatrix& w, int64_t row, const FloatInput& x, int64_t first,
                  const Output& out) {
  const int64_t left = x.rows - first;
  const int64_t inputs = left < kInputs ? left : kInputs;
  float sums[kInputs] = {};
  Run run;
  int32_t column = 0;
  const uint32_t end = w.row_pointers[row + 1];
  for (uint32_t k = w.row_pointers[row]; k < end; k += static_cast<uint32_t>(run.count)) {
    decode_run(w, k, end, column, run);
    for (int64_t i = 0; i < inputs; ++i) sums[i] += gather_dot(run, x.x + (first + i) * x.stride);
  }
  const float unit = w.scale[row] / (127.0f * static_cast<float>(codec::kLargestPrime));
  for (int64_t i = 0; i < inputs; ++i) {
    float& y = out.y[(first + i) * out.stride + row];
    y = out.store == Store::kAdd ? y + sums[i] * unit : sums[i] * unit;
  }
}

}  // namespace

void matmul_mdcsr(const codec::MdcsrMatrix& w, int64_t, RowRange rows, const FloatInput& x,
                  const Output& out) noexcept {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t first = 0; first < x.rows; first += kInputs) multiply_row(w, row, x, first, out);
  }
}

}  // namespace upg::kernels::UPG_ISA
