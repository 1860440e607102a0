// All 65536 values of both types, and every boundary between two of them.
#include "base/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace upg::base {
namespace {

// The value of a small float with `mantissa_bits`, by its definition.
double value_of(uint16_t bits, int mantissa_bits, int exponent_bits) {
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return sign * std::ldexp(whole, std::max(exponent, 1) - bias - mantissa_bits);
}

template <float (*kWiden)(uint16_t), uint16_t (*kNarrow)(float)>
void check_all(int mantissa_bits, int exponent_bits) {
  const auto infinity = static_cast<uint32_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto code = static_cast<uint16_t>(bits);
    const double expected = value_of(code, mantissa_bits, exponent_bits);
    const float wide = kWiden(code);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(wide)) << bits;
      ASSERT_TRUE(std::isnan(kWiden(kNarrow(wide)))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), expected) << bits;
    ASSERT_EQ(std::signbit(wide), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(kNarrow(wide), code) << bits;
    // Between this value and the next: half way goes to the even one, nearer ones to the nearer.
    if ((bits & 0x7fff) + 1 >= infinity) continue;
    const auto next = static_cast<uint16_t>(bits + 1);
    const double middle = (expected + value_of(next, mantissa_bits, exponent_bits)) / 2;
    const auto half = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(half), middle) << bits;
    ASSERT_EQ(kNarrow(half), (bits & 1) == 0 ? code : next) << bits;
    ASSERT_EQ(kNarrow(std::nextafter(half, 0.0f)), code) << bits;
    ASSERT_EQ(kNarrow(std::nextafter(half, half * 4)), next) << bits;
  }
}

TEST(Float16Test, Bf16) { check_all<bf16_to_float, float_to_bf16>(7, 8); }
TEST(Float16Test, F16) { check_all<f16_to_float, float_to_f16>(10, 5); }

TEST(Float16Test, OverflowRoundsToInfinity) {
  EXPECT_EQ(float_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(65519.9f), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(float_to_f16(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_f16(1e-10f), 0);
  EXPECT_EQ(float_to_f16(-1e-10f), 0x8000);
}

}  // namespace
}  // namespace upg::base
