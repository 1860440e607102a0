// The prime table: the first 10,000 primes, 2 ... 104729, and the levels they stand for.
#pragma once

#include <array>
#include <cstdint>

namespace upg::codec {

inline constexpr int kPrimeCount = 10000;
inline constexpr int kLargestPrime = 104729;
inline constexpr int kMaxLevel = 63;

extern const std::array<uint32_t, kPrimeCount> kPrimes;

// prime[index] / 104729, in (0, 1]. index < kPrimeCount.
inline float prime_value(uint16_t index) noexcept {
  return static_cast<float>(kPrimes[index]) / static_cast<float>(kLargestPrime);
}

// A palette entry is a signed prime: bit 15 the sign, bit 14 zero, bits 0-13 the index.
inline constexpr uint16_t kSignBit = 0x8000;
inline constexpr uint16_t kIndexMask = 0x3fff;

// The signed level of a palette entry, round(63 * prime / 104729) with its sign: -63 ... 63.
int8_t level_of(uint16_t entry) noexcept;
// The entry a writer stores for a level: the lowest index whose prime is nearest to it.
uint16_t entry_of(int level) noexcept;  // -63 ... 63

}  // namespace upg::codec
