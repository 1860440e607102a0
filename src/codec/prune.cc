#include "codec/prune.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace upg::codec {

int64_t kept_columns(int64_t cols, double sparsity) {
  UPG_CHECK(sparsity >= 0 && sparsity < 1);
  return std::llround(static_cast<double>(cols) * (1 - sparsity));
}

std::vector<int32_t> largest_columns(std::span<const float> row, int64_t keep) {
  std::vector<int32_t> columns;
  if (keep == 0) return columns;
  std::vector<float> magnitudes(row.size());
  for (size_t c = 0; c < row.size(); ++c) magnitudes[c] = std::fabs(row[c]);
  const auto last = magnitudes.begin() + keep - 1;
  std::nth_element(magnitudes.begin(), last, magnitudes.end(), std::greater<>());
  const float threshold = *last;
  // Those before `last` that equal the threshold, and `last` itself, are the ties to keep.
  int64_t ties = 1 + std::count(magnitudes.begin(), last, threshold);
  columns.reserve(static_cast<size_t>(keep));
  for (size_t c = 0; c < row.size(); ++c) {
    const float magnitude = std::fabs(row[c]);
    if (magnitude > threshold || (magnitude == threshold && ties-- > 0)) {
      columns.push_back(static_cast<int32_t>(c));
    }
  }
  UPG_DCHECK(static_cast<int64_t>(columns.size()) == keep);
  return columns;
}

}  // namespace upg::codec
