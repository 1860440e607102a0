// The sparse codec's levels, and matrices whose zeros are given.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codec/bind_check.h"
#include "codec/codec_testing.h"
#include "codec/sparse_assembly.h"
#include "codec/sparse_levels.h"

namespace upg::codec {
namespace {

using testing::encode_parts;
using testing::gaussian;
using testing::relative_error;
using testing::Stored;

// Gaussian weights of which every row has another share of zeros, the last row nothing else.
std::vector<float> with_zeros(int64_t rows, int64_t cols) {
  std::vector<float> w = gaussian(rows * cols, 5);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      if (r + 1 == rows || (c * 7 + r) % (r % 5 + 2) != 0) w[r * cols + c] = 0;
    }
  }
  return w;
}

// What sparse stores: the weights that are not zero, every group of 4 rows rounded up to two.
int64_t stored_codes(const std::vector<float>& w, int64_t rows, int64_t cols) {
  int64_t codes = 0;
  for (int64_t first = 0; first < rows; first += 4) {
    int64_t count = 0;
    for (int64_t i = first * cols; i < std::min(first + 4, rows) * cols; ++i) count += w[i] != 0;
    codes += (count + 1) / 2 * 2;
  }
  return codes;
}

TEST(SparseZeros, StoresExactlyTheWeightsThatAreNotZero) {
  const int64_t rows = 38, cols = 203;
  const std::vector<float> w = with_zeros(rows, cols);
  EncodeOptions options;
  options.stored_weights = stored_codes(w, rows, cols);
  const std::vector<Part> parts = encode_parts(kSparseCodec, rows, cols, w, options);
  const std::vector<PartSpec> planned = kSparseCodec.parts(rows, cols, options);
  for (size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(parts[i].spec.shape, planned[i].shape);
  Stored stored(kSparseCodec, rows, cols, parts);
  const std::vector<float> decoded = stored.decode();
  const auto* mask = stored["mask"].data<uint8_t>();
  for (int64_t i = 0; i < rows * cols; ++i) {
    const int64_t c = i % cols;
    ASSERT_EQ(mask[i / cols * 32 + c / 8] >> (c % 8) & 1, w[i] != 0) << i;
    if (w[i] == 0) {
      ASSERT_EQ(decoded[i], 0.0f) << i;
    }
  }
  EXPECT_LT(relative_error(w, decoded), 0.02);
}

TEST(SparseZeros, MdcsrStoresThemToo) {
  const int64_t rows = 38, cols = 203;
  const std::vector<float> w = with_zeros(rows, cols);
  EncodeOptions options;
  options.stored_weights = rows * cols;  // whatever it is: the entries are what counts
  Stored stored(kMdcsrCodec, rows, cols, encode_parts(kMdcsrCodec, rows, cols, w, options));
  const std::vector<float> decoded = stored.decode();
  for (size_t i = 0; i < w.size(); ++i) {
    if (w[i] == 0) {
      ASSERT_EQ(decoded[i], 0.0f) << i;
    }
  }
  EXPECT_LT(relative_error(w, decoded), 1e-6);
}

TEST(SparseAssembly, TakesCodesThatSomebodyChose) {
  constexpr uint8_t kNone = SparseAssembly::kNotStored;
  const SparseFit fit = gaussian_sparse_fit();
  SparseAssembly assembly(5, 3, fit);
  const std::vector<uint8_t> codes = {1,     kNone, 2,      //
                                      kNone, kNone, kNone,  //
                                      0,     kNone, kNone,  //
                                      kNone, 15,    7,      //
                                      3,     kNone, kNone};
  const std::vector<float> scale = {1, 2, 3, 4, 5};
  assembly.set_rows(4, 1, codes.data() + 12, scale.data() + 4);
  assembly.set_rows(0, 4, codes.data(), scale.data());
  Stored stored(kSparseCodec, 5, 3, assembly.finish());
  const std::vector<float> decoded = stored.decode();
  for (size_t i = 0; i < codes.size(); ++i) {
    const float want =
        codes[i] == kNone ? 0 : scale[i / 3] * (static_cast<float>(fit.level[codes[i]]) / 63.0f);
    EXPECT_EQ(decoded[i], want) << i;
  }
}

TEST(SparseLevels, FollowTheWeights) {
  std::vector<float> sample;
  for (int i = 0; i < 3000; ++i) sample.push_back((i % 2 == 0 ? 1.0f : -1.0f) * (1 + i / 3000.0f));
  const SparseFit fit = fit_sparse_levels(sample);
  double worst = 0;
  for (const float w : sample) {
    double nearest = 1;
    for (int code = 1; code < 16; ++code) {
      nearest = std::min(nearest, std::fabs(w - fit.level[code] / fit.levels_per_rms));
    }
    worst = std::max(worst, nearest);
  }
  EXPECT_LT(worst, 0.11);  // 15 levels over two ranges of length 1, and their rounding
  EXPECT_EQ(fit.level[0], 0);
}

TEST(SparseLevels, NearestCodeIsTheNearest) {
  const SparseFit fit = gaussian_sparse_fit();
  const NearestCode any(fit.level);
  const NearestCode never(fit.level, NearestCode::Zero::kNever);
  for (float target = -80; target < 80; target += 0.37f) {
    float best = 1e9, best_not_zero = 1e9;
    for (int code = 0; code < 16; ++code) {
      const float distance = std::fabs(target - fit.level[code]);
      best = std::min(best, distance);
      if (code > 0) best_not_zero = std::min(best_not_zero, distance);
    }
    EXPECT_EQ(std::fabs(target - fit.level[any(target)]), best) << target;
    EXPECT_NE(never(target), 0);
    EXPECT_EQ(std::fabs(target - fit.level[never(target)]), best_not_zero) << target;
  }
}

}  // namespace
}  // namespace upg::codec
