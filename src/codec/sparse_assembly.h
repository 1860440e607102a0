// Puts codes that somebody chose into the tensors of the sparse codec; rows may store different
// numbers of weights.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/codec.h"
#include "codec/sparse_levels.h"

namespace upg::codec {

class SparseAssembly {
 public:
  static constexpr uint8_t kNotStored = 255;

  SparseAssembly(int64_t rows, int64_t cols, const SparseFit& fit);

  // Rows [first_row, first_row + count): codes [count, cols], below 16 or kNotStored; scale
  // [count], of weight = scale * level / 63. first_row is a multiple of 4, count too or up to the
  // last row. Thread-safe for disjoint rows.
  void set_rows(int64_t first_row, int64_t count, const uint8_t* codes, const float* scale);

  // In the order of Codec::parts. Throws Error(kUnsupported) when the codes are more than offsets
  // can say.
  std::vector<Part> finish();

 private:
  int64_t rows_;
  int64_t cols_;
  SparseFit fit_;
  std::vector<std::vector<std::byte>> groups_;  // the codes of each row group
  std::vector<std::byte> mask_;
  std::vector<float> scale_;
};

}  // namespace upg::codec
