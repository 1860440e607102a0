// Which weights of a row the sparse codecs keep.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace upg::codec {

// round(cols * (1 - sparsity)); 0 <= sparsity < 1.
int64_t kept_columns(int64_t cols, double sparsity);

// The columns of the `keep` largest magnitudes, ascending; of equals the leftmost. keep <= size.
std::vector<int32_t> largest_columns(std::span<const float> row, int64_t keep);

}  // namespace upg::codec
