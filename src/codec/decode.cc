#include "codec/decode.h"

#include <algorithm>

#include "base/check.h"
#include "codec/codec.h"
#include "codec/rotation.h"

namespace upg::codec {

void decode_rows(const Matrix& matrix, int64_t first, int64_t count, float* out) {
  UPG_CHECK(first >= 0 && count >= 0 && count <= matrix.rows - first);
  std::vector<float> stored(static_cast<size_t>(padded_cols(matrix.cols)));
  for (int64_t row = first; row < first + count; ++row, out += matrix.cols) {
    std::visit([&](const auto& view) { decode_row(view, matrix.cols, row, stored.data()); },
               matrix.view);
    if (matrix.signs != nullptr) {
      unrotate(stored.data(), 1, padded_cols(matrix.cols), matrix.signs);
    }
    std::copy_n(stored.data(), matrix.cols, out);
  }
}

}  // namespace upg::codec
