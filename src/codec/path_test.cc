#include "codec/path.h"

#include <cmath>
#include <limits>

#include "codec/bind_check.h"
#include "codec/codec_testing.h"
#include "codec/owned_matrix.h"
#include "codec/primes.h"
#include "codec/rotation.h"
#include "gtest/gtest.h"

namespace upg::codec {
namespace {

using testing::encode_parts;
using testing::gaussian;
using testing::relative_error;
using testing::Stored;

// The format's definition of one weight, read bit by bit from the stored tensors. Shares nothing
// with the codec.
int code_at(const uint8_t* codes, int bits, int64_t blocks, int64_t row, int64_t column) {
  const int64_t in_block = column % 128;
  const uint8_t* at =
      codes + ((row / 4 * blocks + column / 128) * bits * 64) + row % 4 * 16 + in_block % 16;
  const auto vector = [&](int64_t v) { return static_cast<int>(at[v * 64]); };
  if (bits == 2) return vector(in_block / 64) >> (in_block % 64 / 16 * 2) & 3;
  if (bits == 4) return vector(in_block / 32) >> (in_block % 32 / 16 * 4) & 15;
  if (in_block < 96) return vector(in_block / 32) >> (in_block % 32 / 16 * 4) & 7;
  const int bit = in_block < 112 ? 3 : 7;
  return (vector(0) >> bit & 1) | (vector(1) >> bit & 1) << 1 | (vector(2) >> bit & 1) << 2;
}

int64_t before(int64_t column) {
  const int64_t block = column / 128 * 128, c = column % 128;
  const int64_t g = c / 32, h = c / 16 % 2, j = c / 4 % 4, b = c % 4;
  const int64_t position = (4 * j + g + 15) % 16;
  return block + 32 * (position % 4) + 16 * h + 4 * (position / 4) + b;
}

float weight_at(Stored& stored, int bits, int64_t row, int64_t column) {
  const int64_t blocks = blocks_of(stored.matrix().cols);
  const auto* codes = stored["codes"].data<uint8_t>();
  const auto* palette = stored["palette"].data<uint16_t>();
  auto level = [&](int index) {
    const uint16_t entry = palette[index];
    const long magnitude = std::lround(63.0 * kPrimes[entry & 0x3fff] / 104729.0);
    return (entry & 0x8000) != 0 ? -magnitude : magnitude;
  };
  const long sum = level(code_at(codes, bits, blocks, row, column)) +
                   level((1 << bits) + code_at(codes, bits, blocks, row, before(column)));
  return stored["scale"].data<float>()[row] * (static_cast<float>(sum) / 63.0f);
}

class PathTest : public ::testing::TestWithParam<int> {
 protected:
  int bits() const { return GetParam(); }
  const Codec& codec() const { return *find_codec("path" + std::to_string(bits())); }
};

TEST_P(PathTest, DecodesWhatTheFormatSays) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {5, 128}, {37, 300}}) {
    const std::vector<float> w = gaussian(rows * cols, 1);
    Stored stored(codec(), rows, cols, encode_parts(codec(), rows, cols, w));
    const std::vector<float> decoded = stored.decode();
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < cols; ++column) {
        ASSERT_EQ(decoded[static_cast<size_t>(row * cols + column)],
                  weight_at(stored, bits(), row, column));
      }
    }
  }
}

TEST_P(PathTest, DecodesEveryByte) {
  // Codes of any bytes, in every place.
  const int64_t rows = 32, cols = 256;
  Stored stored(codec(), rows, cols, encode_parts(codec(), rows, cols, gaussian(rows * cols, 2)));
  std::mt19937 random(3);
  const size_t size = stored["codes"].view.bytes.size();
  for (size_t i = 0; i < size; ++i) {
    stored["codes"].bytes[i] = static_cast<std::byte>(i < 256 ? i : random() & 255);
  }
  const std::vector<float> decoded = stored.decode();
  for (int64_t i = 0; i < rows * cols; ++i) {
    ASSERT_EQ(decoded[static_cast<size_t>(i)], weight_at(stored, bits(), i / cols, i % cols));
  }
}

TEST_P(PathTest, GaussianRowsLoseNoMoreThanPromised) {
  const int64_t rows = 64, cols = 2048;
  const std::vector<float> w = gaussian(rows * cols, 4);
  const OwnedMatrix matrix = encode_matrix(codec(), rows, cols, w.data());
  std::vector<float> decoded(w.size());
  decode_rows(matrix.view(), 0, rows, decoded.data());
  double error = 0;  // against variance 1, as the bound is given
  for (size_t i = 0; i < w.size(); ++i) error += (w[i] - decoded[i]) * (w[i] - decoded[i]);
  const double bound = bits() == 2 ? 0.098 : bits() == 3 ? 0.026 : 0.0068;
  EXPECT_LT(error / static_cast<double>(w.size()), bound);
}

TEST_P(PathTest, RowsMayDifferInScale) {
  const int64_t rows = 40, cols = 512;
  std::vector<float> w = gaussian(rows * cols, 5);
  for (int64_t i = 0; i < rows * cols; ++i) {
    w[static_cast<size_t>(i)] *= std::pow(10.0f, static_cast<float>(i / cols % 7 - 3));
  }
  const OwnedMatrix matrix = encode_matrix(codec(), rows, cols, w.data());
  const double bound = bits() == 2 ? 0.11 : bits() == 3 ? 0.031 : 0.0085;
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = w.begin() + row * cols;
    std::vector<float> decoded(static_cast<size_t>(cols));
    decode_rows(matrix.view(), row, 1, decoded.data());
    EXPECT_LT(relative_error({first, first + cols}, decoded), bound) << row;
  }
}

TEST_P(PathTest, AnOutlierDoesNotCostTheRow) {
  // One palette serves the matrix: the row gives up the outlier or its resolution, whichever costs
  // less, and its error stays below its own size.
  const int64_t rows = 32, cols = 512;
  std::vector<float> w = gaussian(rows * cols, 6);
  w[100] = 60;
  const OwnedMatrix matrix = encode_matrix(codec(), rows, cols, w.data());
  std::vector<float> decoded(static_cast<size_t>(cols));
  decode_rows(matrix.view(), 0, 1, decoded.data());
  EXPECT_LT(relative_error({w.begin(), w.begin() + cols}, decoded), 0.75);
}

TEST_P(PathTest, DoesNotDependOnHowRowsAreDivided) {
  const int64_t rows = 100, cols = 200;
  const std::vector<float> w = gaussian(rows * cols, 7);
  const std::vector<Part> whole = encode_parts(codec(), rows, cols, w);
  const auto encoder = codec().encoder(rows, cols, cols, {});
  encoder->train(w.data(), rows);
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{96, 4}, {32, 64}, {0, 32}}) {
    encoder->encode(first, count, w.data() + first * cols);
  }
  const std::vector<Part> divided = encoder->finish();
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(whole[i].bytes, divided[i].bytes);
}

TEST_P(PathTest, RotatedMatricesComeBackUnrotated) {
  const int64_t rows = 33, cols = 300;
  std::vector<float> w = gaussian(rows * cols, 8);
  for (float& x : w) x = x * x * x;  // heavy tails, which the rotation makes nearly Gaussian
  const OwnedMatrix plain = encode_matrix(codec(), rows, cols, w.data());
  const OwnedMatrix rotated =
      encode_matrix(codec(), rows, cols, w.data(), make_signs("input", cols));
  EXPECT_NE(rotated.view().signs, nullptr);
  std::vector<float> a(w.size()), b(w.size());
  decode_rows(plain.view(), 0, rows, a.data());
  decode_rows(rotated.view(), 0, rows, b.data());
  EXPECT_LT(relative_error(w, b), bits() == 2 ? 0.098 : bits() == 3 ? 0.026 : 0.0068);
  EXPECT_LT(relative_error(w, b), relative_error(w, a));
}

TEST_P(PathTest, RowsWithoutScaleAndAtTheEdgesOfFloat) {
  const int64_t rows = 6, cols = 256;
  std::vector<float> w = gaussian(rows * cols, 9);
  const float factors[] = {0.0f, 1e-45f, 1e-40f, 1e-20f, 1e30f, 5e37f};
  for (int64_t i = 0; i < rows * cols; ++i) w[static_cast<size_t>(i)] *= factors[i / cols];
  const OwnedMatrix matrix = encode_matrix(codec(), rows, cols, w.data());
  std::vector<float> decoded(w.size());
  decode_rows(matrix.view(), 0, rows, decoded.data());
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = [&](const std::vector<float>& v) {
      return std::vector<float>(v.begin() + row * cols, v.begin() + (row + 1) * cols);
    };
    for (const float x : from(decoded)) ASSERT_TRUE(std::isfinite(x));
    if (row == 0) {
      EXPECT_EQ(from(decoded), std::vector<float>(static_cast<size_t>(cols)));
    }
    if (row >= 2) {
      EXPECT_LT(relative_error(from(w), from(decoded)), 0.12) << row;
    }
  }
}

TEST_P(PathTest, TakesTheBitsItPromises) {
  const std::vector<PartSpec> specs = codec().parts(5120, 5120, {});
  EXPECT_EQ(specs[0].shape, (std::vector<int64_t>{1280, 40, int64_t{64} * bits()}));
  int64_t bytes = 0;
  for (const PartSpec& spec : specs) {
    int64_t size = static_cast<int64_t>(base::size_of(spec.dtype));
    for (const int64_t n : spec.shape) size *= n;
    bytes += size;
  }
  EXPECT_LT(8.0 * static_cast<double>(bytes) / (5120.0 * 5120.0), bits() + 0.0064);
}

INSTANTIATE_TEST_SUITE_P(Bits, PathTest, ::testing::Values(2, 3, 4));

}  // namespace
}  // namespace upg::codec
