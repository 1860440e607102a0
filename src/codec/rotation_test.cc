#include "codec/rotation.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <random>

#include "codec/matrix.h"
#include "gtest/gtest.h"

namespace upg::codec {
namespace {

std::vector<float> gaussian(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Rotation, IsTheSignedHadamardMatrix) {
  const std::vector<uint8_t> signs = make_signs("a", 256);
  const std::vector<float> x = gaussian(256, 1);
  std::vector<float> got = x;
  rotate(got.data(), 1, 256, signs.data());
  for (int i = 0; i < 256; ++i) {
    double want = 0;
    for (int j = i / 128 * 128; j < i / 128 * 128 + 128; ++j) {
      // Sylvester: the entry (i, j) is -1 to the number of ones in i & j.
      const int minus = std::popcount(static_cast<unsigned>(i & j & 127)) + (signs[j / 8] >> j % 8);
      want += (minus % 2 == 0 ? 1 : -1) * static_cast<double>(x[j]);
    }
    EXPECT_NEAR(got[i], want / std::sqrt(128.0), 2e-6) << i;
  }
}

TEST(Rotation, UnrotateUndoesIt) {
  const std::vector<uint8_t> signs = make_signs("b", 384);
  const std::vector<float> x = gaussian(1152, 2);
  std::vector<float> y = x;
  rotate(y.data(), 3, 384, signs.data());
  unrotate(y.data(), 3, 384, signs.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 2e-6);
}

TEST(Rotation, KeepsInnerProducts) {
  const std::vector<uint8_t> signs = make_signs("c", 128);
  std::vector<float> x = gaussian(128, 3), y = gaussian(128, 4);
  auto dot = [&] {
    double sum = 0;
    for (int i = 0; i < 128; ++i) sum += static_cast<double>(x[i]) * y[i];
    return sum;
  };
  const double before = dot();
  rotate(x.data(), 1, 128, signs.data());
  rotate(y.data(), 1, 128, signs.data());
  EXPECT_NEAR(before, dot(), 1e-5);
}

TEST(Rotation, SignsAreAFunctionOfTheNameAndBalanced) {
  const std::vector<uint8_t> signs = make_signs("model.layers.0.attn", 5120);
  EXPECT_EQ(signs.size(), 640u);
  EXPECT_EQ(signs, make_signs("model.layers.0.attn", 5120));
  EXPECT_NE(signs, make_signs("model.layers.1.attn", 5120));
  EXPECT_EQ(make_signs("x", 100).size(), 16u);
  int ones = 0;
  for (const uint8_t byte : signs) ones += std::popcount(byte);
  EXPECT_LT(std::abs(ones - 2560), 200);  // 5.6 standard deviations
}

TEST(Rotation, TheFunctionBehindTheSignsNeverChanges) {
  // Files carry their signs, but the same command must write the same bytes for ever.
  const std::vector<uint8_t> signs = make_signs("golden", 128);
  const std::vector<uint8_t> want = {0xde, 0x97, 0xbe, 0x66, 0x92, 0x3e, 0x2b, 0xc2,
                                     0xf9, 0x7a, 0x67, 0x43, 0xa5, 0x82, 0x53, 0x2d};
  EXPECT_EQ(signs, want);
}

}  // namespace
}  // namespace upg::codec
