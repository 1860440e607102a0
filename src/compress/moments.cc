#include "compress/moments.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "codec/matrix.h"
#include "codec/rotation.h"
#include "compress/linear_algebra.h"

namespace upg::compression {
namespace {

constexpr int64_t kTile = 256;  // rows of the moments one call works on

// Squares of a matrix [n, n] so small that two of them stay in the cache: body(i, end of i, j, end
// of j), of the lower half.
template <class Body>
void for_lower_squares(int64_t n, const Body& body) {
  constexpr int64_t kSide = 64;
  for (int64_t i = 0; i < n; i += kSide) {
    for (int64_t j = 0; j <= i; j += kSide) {
      body(i, std::min(n, i + kSide), j, std::min(n, j + kSide));
    }
  }
}

void transpose(std::vector<float>& matrix, int64_t n) {
  float* values = matrix.data();
  for_lower_squares(n, [=](int64_t first, int64_t end, int64_t left, int64_t right) {
    for (int64_t i = first; i < end; ++i) {
      for (int64_t j = left; j < std::min(i, right); ++j) {
        std::swap(values[i * n + j], values[j * n + i]);
      }
    }
  });
}

// The lower half becomes what the upper is.
void mirror(std::vector<float>& matrix, int64_t n) {
  float* values = matrix.data();
  for_lower_squares(n, [=](int64_t first, int64_t end, int64_t left, int64_t right) {
    for (int64_t i = first; i < end; ++i) {
      for (int64_t j = left; j < std::min(i, right); ++j) values[i * n + j] = values[j * n + i];
    }
  });
}

void subtract(const float* a, const float* b, int64_t count, std::vector<float>& out) {
  out.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] - b[i];
}

// matrix [rows, cols] with each row padded by zeros; `extra` rows of zeros behind. In its own
// memory when nothing is to be added.
std::vector<float> padded_rows(std::vector<float> matrix, int64_t cols, int64_t extra = 0) {
  const int64_t padded = codec::padded_cols(cols);
  if (padded == cols && extra == 0) return matrix;
  const int64_t rows = static_cast<int64_t>(matrix.size()) / cols;
  std::vector<float> out(static_cast<size_t>((rows + extra) * padded));
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(matrix.begin() + r * cols, cols, out.begin() + r * padded);
  }
  return out;
}

// matrix [cols, cols] padded to [padded, padded] and turned on both sides.
std::vector<float> turned(std::vector<float> matrix, int64_t cols, const uint8_t* signs) {
  const int64_t padded = codec::padded_cols(cols);
  std::vector<float> out = padded_rows(std::move(matrix), cols, padded - cols);
  if (signs == nullptr) return out;
  for (int side = 0; side < 2; ++side) {
    codec::rotate(out.data(), padded, padded, signs);
    transpose(out, padded);
  }
  return out;
}

}  // namespace

MomentSums::MomentSums(int64_t cols, bool with_drift, int64_t residual_rows)
    : cols_(cols),
      residual_rows_(residual_rows),
      gram_(static_cast<size_t>(cols * cols)),
      residual_(static_cast<size_t>(residual_rows * cols)) {
  if (with_drift) drift_.resize(gram_.size());
}

void MomentSums::add(const float* compressed, const float* original, int64_t tokens,
                     base::ThreadTeam& team) {
  const int64_t n = cols_;
  if (!drift_.empty()) subtract(original, compressed, tokens * n, difference_);
  team.for_each(base::ceil_div(n, kTile), [&](int64_t tile, int) {
    const int64_t first = tile * kTile;
    const int64_t rows = std::min(kTile, n - first);
    // The upper part of a symmetric matrix is all that is needed.
    multiply(rows, n - first, tokens, compressed + first, n, compressed + first, n, 1,
             gram_.data() + first * n + first, n, Transposed::kYes);
    if (drift_.empty()) return;
    multiply(rows, n, tokens, difference_.data() + first, n, compressed, n, 1,
             drift_.data() + first * n, n, Transposed::kYes);
  });
}

void MomentSums::add_residual(const float* compressed_stream, const float* original_stream,
                              const float* compressed, int64_t tokens, base::ThreadTeam& team) {
  subtract(original_stream, compressed_stream, tokens * residual_rows_, difference_);
  team.for_each(base::ceil_div(residual_rows_, kTile), [&](int64_t tile, int) {
    const int64_t first = tile * kTile;
    multiply(std::min(kTile, residual_rows_ - first), cols_, tokens, difference_.data() + first,
             residual_rows_, compressed, cols_, 1, residual_.data() + first * cols_, cols_,
             Transposed::kYes);
  });
}

Moments MomentSums::in_basis(const uint8_t* signs) && {
  difference_ = {};
  mirror(gram_, cols_);
  Moments moments;
  moments.cols = codec::padded_cols(cols_);
  moments.gram = turned(std::move(gram_), cols_, signs);
  if (!drift_.empty()) moments.drift = turned(std::move(drift_), cols_, signs);
  moments.residual = padded_rows(std::move(residual_), cols_);
  if (signs != nullptr) {
    codec::rotate(moments.residual.data(), residual_rows_, moments.cols, signs);
  }
  return moments;
}

Moments MomentSums::in_basis(const uint8_t* signs) const& {
  return MomentSums(*this).in_basis(signs);
}

}  // namespace upg::compression
