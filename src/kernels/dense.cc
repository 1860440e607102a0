#include "kernels/dense.h"

#include <algorithm>
#include <cstring>
#include <variant>

#include "base/check.h"
#include "codec/codec.h"
#include "kernels/backend.h"
#include "kernels/cpu/tables.h"
#include "kernels/scratch.h"

namespace upg::kernels {
namespace {

constexpr int64_t kRowsAtOnce = 8;  // whose floats stay in the caches until they are unrotated

void decode_path(const CpuOps& ops, const codec::Matrix& matrix, int64_t first, int64_t count,
                 float* out) {
  const auto& view = std::get<codec::PathMatrix>(matrix.view);
  const int64_t padded = codec::padded_cols(matrix.cols);
  const bool whole = padded == matrix.cols;
  Scratch<float> storage;
  if (!whole) storage.reserve(kRowsAtOnce * padded);
  for (int64_t done = 0; done < count; done += kRowsAtOnce) {
    const int64_t rows = std::min(kRowsAtOnce, count - done);
    float* to = whole ? out + done * matrix.cols : storage.data();
    ops.decode_path(view, padded / codec::kBlockColumns, first + done, rows, to);
    for (int64_t row = 0; row < rows; ++row) {
      if (matrix.signs != nullptr) ops.unrotate(to + row * padded, padded, matrix.signs);
      if (whole) continue;
      std::memcpy(out + (done + row) * matrix.cols, to + row * padded,
                  sizeof(float) * static_cast<size_t>(matrix.cols));
    }
  }
}

const CpuOps* best_table() {
  const std::string_view name = select_backend({.device = "cpu"}).name;
  for (const CpuOps* ops : cpu_tables()) {
    if (ops->name == name) return ops;
  }
  return nullptr;
}

}  // namespace

void decode_rows(const CpuOps& ops, const codec::Matrix& matrix, int64_t first, int64_t count,
                 float* out) {
  UPG_CHECK(first >= 0 && count >= 0 && count <= matrix.rows - first);
  if (ops.decode_path != nullptr && std::holds_alternative<codec::PathMatrix>(matrix.view)) {
    decode_path(ops, matrix, first, count, out);
  } else {
    codec::decode_rows(matrix, first, count, out);
  }
}

void decode_rows(const codec::Matrix& matrix, int64_t first, int64_t count, float* out) {
  if (const CpuOps* ops = best_table()) return decode_rows(*ops, matrix, first, count, out);
  codec::decode_rows(matrix, first, count, out);
}

}  // namespace upg::kernels
