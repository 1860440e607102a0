// How each family turns one stored row back into numbers; decode.cc puts them behind decode_rows.
#pragma once

#include <cstdint>

#include "codec/matrix.h"

namespace upg::codec {

// One row as float in the stored basis. `out` has room for padded_cols(cols); columns beyond `cols`
// are written only where the codec stores them.
void decode_row(const RawMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept;
void decode_row(const PathMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept;
void decode_row(const Int8Matrix& matrix, int64_t cols, int64_t row, float* out) noexcept;
void decode_row(const SparseMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept;
void decode_row(const MdcsrMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept;

}  // namespace upg::codec
