// Puts codes that somebody else chose into the tensors of a path codec: what calibrated coding
// needs.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/codec.h"
#include "codec/path_viterbi.h"

namespace upg::codec {

class PathAssembly {
 public:
  // palettes.bits says which codec: path2, path3, path4.
  PathAssembly(int64_t rows, int64_t cols, const PathPalettes& palettes);

  // One row: codes [padded_cols], each below 2^bits, and the scale that weight = scale * level / 63
  // has. Thread-safe for different rows.
  void set_row(int64_t row, const uint8_t* codes, float scale) noexcept;

  std::vector<Part> finish();  // in the order of Codec::parts

 private:
  int64_t rows_;
  int64_t cols_;
  PathPalettes palettes_;
  std::vector<std::byte> codes_;
  std::vector<float> scale_;
};

}  // namespace upg::codec
