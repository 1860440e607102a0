// Matrices of any codec with random contents, valid in every index, for benchmarks: speed does not
// depend on the values. rows: a multiple of 32, cols: of 128. Sparse and mdcsr are half full.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "codec/codec.h"

namespace upg::bench {

// What a file would hold.
std::vector<codec::Part> random_parts(const codec::Codec& codec, int64_t rows, int64_t cols);

// Several copies of one random matrix, side by side in huge pages. Rotated where the codec allows.
// All share one piece of memory: making one ends the life of the one before.
class MatrixCopies {
 public:
  // At least `bytes` of memory, at least one copy.
  MatrixCopies(std::string_view codec, int64_t rows, int64_t cols, int64_t bytes);
  MatrixCopies(const MatrixCopies&) = delete;
  MatrixCopies& operator=(const MatrixCopies&) = delete;

  const std::vector<codec::Matrix>& matrices() const noexcept { return matrices_; }

 private:
  codec::Matrix bind(const codec::Codec& codec, const std::vector<codec::PartSpec>& specs,
                     const std::byte* at) const;

  int64_t rows_;
  int64_t cols_;
  std::vector<uint8_t> signs_;
  std::vector<codec::Matrix> matrices_;
};

// The copies that were asked for last; made anew for another matrix.
const MatrixCopies& kept_copies(std::string_view codec, int64_t rows, int64_t cols, int64_t bytes);

// Bytes that a codec stores for a matrix of this shape.
int64_t stored_bytes(std::string_view codec, int64_t rows, int64_t cols);

}  // namespace upg::bench
