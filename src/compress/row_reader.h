// Rows of a checkpoint's matrix as an encoder sees them: finite, padded, rotated.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/encode.h"

namespace upg::compression {

// Thread-safe.
class RowReader {
 public:
  // signs: null where there is no rotation; then rows are padded only to stored_cols (0: not at
  // all).
  RowReader(const SourceMatrix& source, const uint8_t* signs, int64_t stored_cols = 0);

  int64_t stored_cols() const noexcept { return stored_cols_; }

  // out: [count, stored_cols]. Throws as check_values does.
  void read(int64_t first, int64_t count, float* out) const;
  // These rows will not be read again soon.
  void release(int64_t first, int64_t count) const;

 private:
  const SourceMatrix& source_;
  const uint8_t* signs_;
  int64_t stored_cols_;
};

// Rows an encoder is trained on, at most.
int64_t sample_rows(int64_t rows, int64_t cols) noexcept;
// Rows evenly spread over the matrix, in order: [count, stored_cols].
std::vector<float> read_sample(const SourceMatrix& source, const RowReader& reader, int64_t count);

}  // namespace upg::compression
