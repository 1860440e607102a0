// Matrix products. Integers: int8 x int8 -> int32 in a block of 128 columns, times the block's
// activation scale, blocks summed in float in column order, then times scale / 63 (path, sparse) or
// scale / 127 (int8). Floats: the same with a float sum in the block.
#include <algorithm>

#include "codec/primes.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"
#include "kernels/reference/rows.h"

namespace upg::kernels::reference {
namespace {

// A row is decoded once for so many inputs.
constexpr int64_t kTile = 64;

float block_sum(const int8_t* levels, const QuantisedInput& x, int64_t input, int64_t block) {
  const int8_t* q = x.q + input * x.cols + block * kBlockColumns;
  const float scale = x.scale[input * (x.cols / kBlockColumns) + block];
  return static_cast<float>(dot(levels, q, kBlockColumns)) * scale;
}

template <class T>
float block_sum(const T* values, const FloatInput& x, int64_t input, int64_t block) {
  return dot(values, x.x + input * x.stride + block * kBlockColumns, kBlockColumns);
}

void store(const Output& out, int64_t input, int64_t row, float value) {
  float& y = out.y[input * out.stride + row];
  y = out.store == Store::kAdd ? y + value : value;
}

template <class Row, class Matrix, class Input>
void multiply_row(const Matrix& w, int64_t cols, int64_t row, const Input& x, int64_t first,
                  const Output& out) noexcept {
  const int64_t count = std::min(kTile, x.rows - first);
  float sums[kTile] = {};
  Row reader(w, cols, row);
  for (int64_t block = 0; block < codec::blocks_of(cols); ++block) {
    typename Row::Value values[kBlockColumns];
    reader.next(values);
    for (int64_t i = 0; i < count; ++i) sums[i] += block_sum(values, x, first + i, block);
  }
  for (int64_t i = 0; i < count; ++i) store(out, first + i, row, sums[i] * reader.factor());
}

template <class Row, class Matrix, class Input>
void multiply(const Matrix& w, int64_t cols, RowRange rows, const Input& x,
              const Output& out) noexcept {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t first = 0; first < x.rows; first += kTile) {
      multiply_row<Row>(w, cols, row, x, first, out);
    }
  }
}

void multiply_mdcsr_row(const codec::MdcsrMatrix& w, int64_t row, const FloatInput& x,
                        int64_t first, const Output& out) noexcept {
  const int64_t count = std::min(kTile, x.rows - first);
  float sums[kTile] = {};
  int64_t column = 0;
  for (uint32_t k = w.row_pointers[row]; k < w.row_pointers[row + 1]; ++k) {
    column += w.deltas[k];
    const float weight = w.scale[row] * (static_cast<float>(w.values[k]) / 127.0f) *
                         codec::prime_value(w.prime_indices[k]);
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * x.x[(first + i) * x.stride + column];
  }
  for (int64_t i = 0; i < count; ++i) store(out, first + i, row, sums[i]);
}

}  // namespace

void matmul_path(const codec::PathMatrix& w, int64_t cols, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept {
  multiply<PathRow>(w, cols, rows, x, out);
}

void matmul_int8(const codec::Int8Matrix& w, int64_t cols, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept {
  multiply<Int8Row>(w, cols, rows, x, out);
}

void matmul_sparse(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                   const QuantisedInput& x, const Output& out) noexcept {
  multiply<SparseRow>(w, cols, rows, x, out);
}

void matmul_path_float(const codec::PathMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept {
  multiply<PathRow>(w, cols, rows, x, out);
}

void matmul_int8_float(const codec::Int8Matrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept {
  multiply<Int8Row>(w, cols, rows, x, out);
}

void matmul_sparse_float(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                         const FloatInput& x, const Output& out) noexcept {
  multiply<SparseRow>(w, cols, rows, x, out);
}

void matmul_mdcsr(const codec::MdcsrMatrix& w, int64_t, RowRange rows, const FloatInput& x,
                  const Output& out) noexcept {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t first = 0; first < x.rows; first += kTile) {
      multiply_mdcsr_row(w, row, x, first, out);
    }
  }
}

void matmul_raw(const codec::RawMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                const Output& out) noexcept {
  multiply<RawRow>(w, cols, rows, x, out);
}

}  // namespace upg::kernels::reference
