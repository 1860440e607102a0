// mdcsr: format version 2, compressed sparse rows. Never rotated.
//
//   weight = scales[row] * (value / 127) * (prime / 104729), in float32, from left to right
//
// values         I8  [nonzeros]
// delta_indices  U8  [nonzeros]  a row's first is its first column, the others are differences; 0
//                                occurs as a row's first only; a gap above 255 is bridged by
//                                entries of value 0 that advance by 255
// row_pointers   U32 [rows + 1]  where each row's entries start; the last is `nonzeros`
// prime_indices  U16 [nonzeros]  below 10,000
// scales         F32 [rows]
#include "codec/mdcsr.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/bind_check.h"
#include "codec/decode.h"
#include "codec/primes.h"
#include "codec/prune.h"

namespace upg::codec {
namespace {

using base::DType;

// Without stored_weights the entries that bridge gaps are not counted: they depend on the weights.
std::vector<PartSpec> parts(int64_t rows, int64_t cols, const EncodeOptions& options) {
  return mdcsr_parts(rows,
                     options.stored_weights.value_or(rows * kept_columns(cols, options.sparsity)));
}

std::unique_ptr<Encoder> encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                 const EncodeOptions& options) {
  const double sparsity = options.stored_weights ? 0 : options.sparsity;
  return make_mdcsr_encoder(rows, cols, stored_cols, sparsity);
}

void check_row_pointers(const StoredMatrix& stored, const uint32_t* pointers, int64_t nonzeros) {
  if (pointers[0] != 0) {
    reject(stored, "row_pointers", fmt::format("{} first", pointers[0]), "0");
  }
  for (int64_t row = 0; row < stored.rows; ++row) {
    if (pointers[row + 1] < pointers[row]) {
      reject(stored, "row_pointers",
             fmt::format("{} after {} in row {}", pointers[row + 1], pointers[row], row),
             "pointers that do not decrease");
    }
  }
  if (pointers[stored.rows] != nonzeros) {
    reject(stored, "row_pointers", fmt::format("{} last", pointers[stored.rows]),
           fmt::format("{}, the number of entries", nonzeros));
  }
}

void check_deltas(const StoredMatrix& stored, const uint32_t* pointers, const uint8_t* deltas) {
  for (int64_t row = 0; row < stored.rows; ++row) {
    if (pointers[row] == pointers[row + 1]) continue;
    int64_t column = deltas[pointers[row]];
    bool repeats = false;
    for (int64_t i = int64_t{pointers[row]} + 1; i < pointers[row + 1]; ++i) {
      column += deltas[i];
      repeats |= deltas[i] == 0;
    }
    if (repeats) {
      reject(stored, "delta_indices", fmt::format("0 within row {}", row), "1 to 255");
    }
    if (column >= stored.cols) {
      reject(stored, "delta_indices", fmt::format("column {} in row {}", column, row),
             fmt::format("columns below {}", stored.cols));
    }
  }
}

void check_prime_indices(const StoredMatrix& stored, const uint16_t* indices, int64_t nonzeros) {
  uint16_t largest = 0;
  for (int64_t i = 0; i < nonzeros; ++i) largest = std::max(largest, indices[i]);
  if (largest >= kPrimeCount) {
    reject(stored, "prime_indices", fmt::format("{}", largest),
           fmt::format("below {}", kPrimeCount));
  }
}

Matrix bind(const StoredMatrix& stored) {
  check_dimensions(stored);
  check_unrotated(stored);
  const base::TensorView& values = require_vector(stored, "values", DType::kI8, 1);
  const int64_t nonzeros = values.shape[0];
  if (nonzeros > int64_t{UINT32_MAX}) {
    reject(stored, "values", fmt::format("{} entries", nonzeros),
           fmt::format("at most {}", UINT32_MAX));
  }
  const std::vector<PartSpec> specs = mdcsr_parts(stored.rows, nonzeros);
  MdcsrMatrix matrix;
  matrix.values = values.data<int8_t>();
  matrix.deltas = require_part(stored, specs[1], 1).data<uint8_t>();
  matrix.row_pointers = require_part(stored, specs[2], alignof(uint32_t)).data<uint32_t>();
  matrix.prime_indices = require_part(stored, specs[3], alignof(uint16_t)).data<uint16_t>();
  matrix.scale = require_scales(stored, "scales");
  check_row_pointers(stored, matrix.row_pointers, nonzeros);
  check_deltas(stored, matrix.row_pointers, matrix.deltas);
  check_prime_indices(stored, matrix.prime_indices, nonzeros);
  return {stored.rows, stored.cols, matrix, nullptr};
}

}  // namespace

std::vector<PartSpec> mdcsr_parts(int64_t rows, int64_t nonzeros) {
  return {{"values", DType::kI8, {nonzeros}},
          {"delta_indices", DType::kU8, {nonzeros}},
          {"row_pointers", DType::kU32, {rows + 1}},
          {"prime_indices", DType::kU16, {nonzeros}},
          {"scales", DType::kF32, {rows}}};
}

constinit const Codec kMdcsrCodec = {"mdcsr", 2, false, parts, encoder, bind};

void decode_row(const MdcsrMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept {
  std::fill_n(out, cols, 0.0f);
  int64_t column = 0;
  for (int64_t i = matrix.row_pointers[row]; i < matrix.row_pointers[row + 1]; ++i) {
    column += matrix.deltas[i];
    out[column] = matrix.scale[row] * (static_cast<float>(matrix.values[i]) / 127.0f) *
                  prime_value(matrix.prime_indices[i]);
  }
}

}  // namespace upg::codec
