// raw, int8, sparse, mdcsr: bounds, layouts and exact counts.
#include <bit>
#include <cmath>
#include <limits>

#include "base/float16.h"
#include "codec/bind_check.h"
#include "codec/codec_testing.h"
#include "codec/mdcsr.h"
#include "codec/owned_matrix.h"
#include "codec/primes.h"
#include "codec/prune.h"
#include "gtest/gtest.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

using base::DType;
using testing::encode_parts;
using testing::gaussian;
using testing::relative_error;
using testing::Stored;

TEST(Raw, KeepsFloatsAndRoundsHalves) {
  const std::vector<float> w = {0.1f, -3.0f, 1e-8f, 65504.0f, 0.0f, -0.0f};
  auto decode = [&](DType dtype) {
    EncodeOptions options;
    options.raw_dtype = dtype;
    return Stored(kRawCodec, 2, 3, encode_parts(kRawCodec, 2, 3, w, options)).decode();
  };
  EXPECT_EQ(decode(DType::kF32), w);
  for (size_t i = 0; i < w.size(); ++i) {
    EXPECT_EQ(decode(DType::kF16)[i], base::f16_to_float(base::float_to_f16(w[i])));
    EXPECT_EQ(decode(DType::kBF16)[i], base::bf16_to_float(base::float_to_bf16(w[i])));
  }
}

TEST(Raw, RefusesWhatHalfCannotHold) {
  EncodeOptions options;
  options.raw_dtype = DType::kF16;
  EXPECT_THROW(encode_parts(kRawCodec, 1, 2, {1.0f, 70000.0f}, options), Error);
}

TEST(Int8, ErrorIsWithinHalfAStep) {
  const int64_t rows = 37, cols = 200;
  std::vector<float> w = gaussian(rows * cols, 1);
  w[5] = 100;
  const std::vector<float> decoded =
      Stored(kInt8Codec, rows, cols, encode_parts(kInt8Codec, rows, cols, w)).decode();
  for (int64_t row = 0; row < rows; ++row) {
    float amax = 0;
    for (int64_t c = 0; c < cols; ++c) amax = std::max(amax, std::fabs(w[row * cols + c]));
    for (int64_t c = 0; c < cols; ++c) {
      ASSERT_LE(std::fabs(w[row * cols + c] - decoded[row * cols + c]), amax / 254 * 1.0001f);
    }
  }
}

TEST(Int8, EveryLevelInEveryPlace) {
  const int64_t rows = 32, cols = 256, blocks = 2;
  Stored stored(kInt8Codec, rows, cols,
                encode_parts(kInt8Codec, rows, cols, gaussian(rows * cols, 2)));
  auto* codes = stored["codes"].data<int8_t>();
  for (int64_t i = 0; i < rows * cols; ++i) codes[i] = static_cast<int8_t>(i * 7 % 255 - 127);
  const std::vector<float> decoded = stored.decode();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < cols; ++c) {
      // [row group, block, vector, row in group, byte]
      const int64_t at = (((row / 4 * blocks + c / 128) * 8 + c % 128 / 16) * 4 + row % 4) * 16;
      const float scale = stored["scale"].data<float>()[row];
      ASSERT_EQ(decoded[row * cols + c], scale * (static_cast<float>(codes[at + c % 16]) / 127.0f));
    }
  }
}

TEST(Int8, TheSmallestAndLargestFloats) {
  for (const float magnitude : {1e-45f, 1e-38f, 3e38f}) {
    const std::vector<float> w = {magnitude, -magnitude, 0.0f};
    EXPECT_EQ(Stored(kInt8Codec, 1, 3, encode_parts(kInt8Codec, 1, 3, w)).decode(), w);
  }
}

TEST(Prune, KeepsTheLargestAndTheLeftmostOfEquals) {
  EXPECT_EQ(kept_columns(10, 0.5), 5);
  EXPECT_EQ(kept_columns(5, 0.5), 3);
  EXPECT_EQ(kept_columns(7, 0.0), 7);
  EXPECT_EQ(kept_columns(7, 0.99), 0);
  const std::vector<float> row = {1, -3, 2, 3, -1, 1, 0};
  EXPECT_EQ(largest_columns(row, 0), (std::vector<int32_t>{}));
  EXPECT_EQ(largest_columns(row, 1), (std::vector<int32_t>{1}));
  EXPECT_EQ(largest_columns(row, 4), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(largest_columns(row, 5), (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(largest_columns(row, 7), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));
}

class Sparsity : public ::testing::TestWithParam<double> {};

TEST_P(Sparsity, EveryRowKeepsItsShareOfTheLargest) {
  const int64_t rows = 39, cols = 203;
  EncodeOptions options;
  options.sparsity = GetParam();
  const int64_t keep = kept_columns(cols, options.sparsity);
  const std::vector<float> w = gaussian(rows * cols, 3);
  Stored stored(kSparseCodec, rows, cols, encode_parts(kSparseCodec, rows, cols, w, options));
  const std::vector<float> decoded = stored.decode();
  const auto* mask = stored["mask"].data<uint8_t>();
  std::vector<float> pruned(w.size());
  for (int64_t row = 0; row < padded_rows(rows); ++row) {
    int64_t count = 0;
    for (int64_t i = 0; i < 32; ++i) count += std::popcount(mask[row * 32 + i]);
    ASSERT_EQ(count, row < rows ? keep : 0);
    if (row >= rows) continue;
    for (const int32_t c :
         largest_columns({w.data() + row * cols, static_cast<size_t>(cols)}, keep)) {
      EXPECT_TRUE(mask[row * 32 + c / 8] >> (c % 8) & 1);
      pruned[row * cols + c] = w[row * cols + c];
    }
  }
  if (keep == 0) return;
  EXPECT_LT(relative_error(pruned, decoded), 0.012);  // 15 levels for what is left
}

INSTANTIATE_TEST_SUITE_P(Shares, Sparsity, ::testing::Values(0.0, 0.25, 0.5, 0.51, 0.9, 0.999));

TEST(Sparse, CodesLieRowByRowLowNibbleFirst) {
  // 3 + 3 + 3 codes, row after row, in one group: the second row starts in a high nibble.
  const std::vector<float> w = {1, 2, 0, 0, 3, 0,  //
                                0, 1, 1, 0, 0, 1,  //
                                2, 2, 0, 2, 0, 0};
  Stored stored(kSparseCodec, 3, 6, encode_parts(kSparseCodec, 3, 6, w));
  const std::vector<float> decoded = stored.decode();
  const auto* codes = stored["codes"].data<uint8_t>();
  const auto* palette = stored["palette"].data<uint16_t>();
  int at = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const bool kept = stored["mask"].data<uint8_t>()[i / 6 * 16] >> (i % 6) & 1;
    EXPECT_EQ(kept, w[i] != 0);
    float want = 0;
    if (kept) {
      const int code = codes[at / 2] >> (at % 2 == 0 ? 0 : 4) & 15;
      want = stored["scale"].data<float>()[i / 6] *
             (static_cast<float>(level_of(palette[code])) / 63.0f);
      ++at;
    }
    EXPECT_EQ(decoded[i], want) << i;
  }
  EXPECT_EQ(at, 9);
  const auto* offsets = stored["offsets"].data<uint32_t>();
  EXPECT_EQ(offsets[0], 0u);
  EXPECT_EQ(offsets[1], 5u);
  EXPECT_EQ(offsets[8], 5u);
  EXPECT_EQ(stored["codes"].view.bytes.size(), 64u);
}

TEST(Mdcsr, ProductsAreNearEveryShare) {
  double worst = 0, square = 0;
  constexpr int kSteps = 200003;
  for (int i = 0; i <= kSteps; ++i) {
    const double share = static_cast<double>(i) / kSteps;
    const MdcsrProduct product = nearest_product(share);
    ASSERT_GE(product.value, 0);
    ASSERT_LT(product.prime_index, kPrimeCount);
    const double got = product.value / 127.0 * kPrimes[product.prime_index] / kLargestPrime;
    worst = std::max(worst, std::fabs(got - share));
    square += (got - share) * (got - share);
    const MdcsrProduct negative = nearest_product(-share);
    ASSERT_EQ(negative.value, -product.value);
    ASSERT_EQ(negative.prime_index, product.prime_index);
  }
  EXPECT_LT(worst, 36.0 / kLargestPrime);
  EXPECT_LT(std::sqrt(square / kSteps), 1e-5);
}

TEST(Mdcsr, DeltasAreDifferencesAndGapsAreBridged) {
  std::vector<float> w(1000);
  w[0] = 1, w[5] = 0.5f, w[12] = -0.25f, w[15] = 1, w[270] = 0.75f, w[999] = -1;
  EncodeOptions options;
  options.sparsity = 0.99;
  Stored stored(kMdcsrCodec, 1, 1000, encode_parts(kMdcsrCodec, 1, 1000, w, options));
  const auto* deltas = stored["delta_indices"].data<uint8_t>();
  const std::vector<int> want = {0, 5, 7, 3, 255, 255, 255, 219};
  ASSERT_EQ(stored["delta_indices"].view.shape[0], static_cast<int64_t>(want.size()));
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(deltas[i], want[i]);
  EXPECT_NE(stored["values"].data<int8_t>()[4], 0);  // 15 + 255 = 270 is an entry
  EXPECT_EQ(stored["values"].data<int8_t>()[5], 0);  // bridges
  EXPECT_EQ(stored["values"].data<int8_t>()[6], 0);
  const std::vector<float> decoded = stored.decode();
  for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(decoded[i], w[i], 1e-5) << i;
}

TEST(Mdcsr, AFirstColumnBeyond255IsBridged) {
  std::vector<float> w(700);
  w[600] = 2;
  Stored stored(kMdcsrCodec, 1, 700, encode_parts(kMdcsrCodec, 1, 700, w));
  EXPECT_EQ(stored["values"].view.shape[0], 3);
  EXPECT_EQ(stored.decode(), w);
}

TEST(Mdcsr, RoundTripIsExactToItsOwnRounding) {
  const int64_t rows = 20, cols = 700;
  const std::vector<float> w = gaussian(rows * cols, 5);
  Stored stored(kMdcsrCodec, rows, cols, encode_parts(kMdcsrCodec, rows, cols, w));
  const std::vector<float> decoded = stored.decode();
  const auto* pointers = stored["row_pointers"].data<uint32_t>();
  for (int64_t row = 0; row < rows; ++row) {  // the definition, entry by entry
    std::vector<float> want(static_cast<size_t>(cols));
    int64_t column = 0;
    for (uint32_t i = pointers[row]; i < pointers[row + 1]; ++i) {
      column += stored["delta_indices"].data<uint8_t>()[i];
      const float value = static_cast<float>(stored["values"].data<int8_t>()[i]) / 127.0f;
      const float prime =
          static_cast<float>(kPrimes[stored["prime_indices"].data<uint16_t>()[i]]) / 104729.0f;
      want[static_cast<size_t>(column)] = stored["scales"].data<float>()[row] * value * prime;
    }
    for (int64_t c = 0; c < cols; ++c) ASSERT_EQ(decoded[row * cols + c], want[c]);
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < cols; ++c) {
      const float got = decoded[row * cols + c];
      if (got == 0) continue;
      EXPECT_NEAR(got, w[row * cols + c], 5 * 36.0 / kLargestPrime);
    }
  }
  // What it wrote, it writes again: nothing drifts from one conversion to the next.
  const std::vector<float> again =
      Stored(kMdcsrCodec, rows, cols, encode_parts(kMdcsrCodec, rows, cols, decoded)).decode();
  for (size_t i = 0; i < decoded.size(); ++i) {
    ASSERT_NEAR(again[i], decoded[i], 2e-7 * std::fabs(decoded[i])) << i;
  }
}

}  // namespace
}  // namespace upg::codec
