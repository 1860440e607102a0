#include "codec/primes.h"

#include <cmath>
#include <cstdlib>

#include "gtest/gtest.h"

namespace upg::codec {
namespace {

bool is_prime(uint32_t n) {  // trial division: shares nothing with the sieve under test
  if (n < 2) return false;
  for (uint32_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return true;
}

TEST(Primes, AreTheFirstTenThousand) {
  int index = 0;
  for (uint32_t n = 0; n <= kLargestPrime; ++n) {
    if (is_prime(n)) {
      ASSERT_LT(index, kPrimeCount);
      ASSERT_EQ(kPrimes[index++], n);
    }
  }
  EXPECT_EQ(index, kPrimeCount);
}

TEST(Primes, ValuesLieInTheUnitInterval) {
  EXPECT_EQ(prime_value(0), 2.0f / 104729.0f);
  EXPECT_EQ(prime_value(kPrimeCount - 1), 1.0f);
}

TEST(Primes, LevelsRoundTheDefinition) {
  for (int i = 0; i < kPrimeCount; ++i) {
    const long want = std::lround(63.0 * kPrimes[i] / 104729.0);
    ASSERT_EQ(level_of(static_cast<uint16_t>(i)), want) << i;
    ASSERT_EQ(level_of(static_cast<uint16_t>(i | kSignBit)), -want) << i;
  }
}

TEST(Primes, EntryIsTheLowestIndexOfTheNearestPrime) {
  for (int level = -kMaxLevel; level <= kMaxLevel; ++level) {
    int best = 0;
    auto distance = [&](int i) {
      return std::llabs(63LL * kPrimes[i] - std::llabs(1LL * level) * 104729);
    };
    for (int i = 1; i < kPrimeCount; ++i) {
      if (distance(i) < distance(best)) best = i;
    }
    const uint16_t entry = entry_of(level);
    EXPECT_EQ(entry & kIndexMask, best) << level;
    EXPECT_EQ((entry & kSignBit) != 0, level < 0) << level;
    EXPECT_EQ(level_of(entry), level);
  }
}

}  // namespace
}  // namespace upg::codec
