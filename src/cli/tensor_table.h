// A table of many tensors: those that differ by their layer's number alone share a line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace upg::cli {

struct TensorLine {
  std::string_view name;
  std::string_view codec;
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t bytes = 0;
  bool rotated = false;
  double relative_error = 0;  // 0: not known
  double loss = 0;            // 0: not known
};

// Lines in the order of their first tensor, with count, shape, codec, bits a weight and size, and
// where they are known the means of error and loss.
std::string tensor_table(const std::vector<TensorLine>& tensors);

}  // namespace upg::cli
