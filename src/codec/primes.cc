#include "codec/primes.h"

#include "base/check.h"

namespace upg::codec {
namespace {

// Odd numbers alone: flag i stands for 2 i + 1. Small enough for every compiler's limit on what a
// constant expression may cost.
constexpr int kOddCount = (kLargestPrime + 1) / 2;

struct Sieve {
  bool composite[kOddCount] = {};
};

constexpr Sieve make_sieve() {
  Sieve sieve;
  for (int p = 3; p * p <= kLargestPrime; p += 2) {
    if (sieve.composite[p / 2]) continue;
    for (int multiple = p * p / 2; multiple < kOddCount; multiple += p) {
      sieve.composite[multiple] = true;
    }
  }
  return sieve;
}

constexpr std::array<uint32_t, kPrimeCount> make_primes() {
  constexpr Sieve sieve = make_sieve();
  std::array<uint32_t, kPrimeCount> primes = {2};
  int count = 1;
  for (int i = 1; i < kOddCount; ++i) {
    if (!sieve.composite[i]) primes[count++] = static_cast<uint32_t>(2 * i + 1);
  }
  return primes;
}

constexpr std::array<int8_t, kPrimeCount> make_levels(
    const std::array<uint32_t, kPrimeCount>& primes) {
  std::array<int8_t, kPrimeCount> levels = {};
  for (int i = 0; i < kPrimeCount; ++i) {
    // round(63 p / 104729); a half cannot occur, 104729 is odd.
    const uint32_t twice = 2 * kMaxLevel * primes[i];
    levels[i] = static_cast<int8_t>((twice + kLargestPrime) / (2 * kLargestPrime));
  }
  return levels;
}

// Primes ascend, so one walk finds the nearest for every level; on a tie the lower index stays.
constexpr std::array<uint16_t, kMaxLevel + 1> make_entries(
    const std::array<uint32_t, kPrimeCount>& primes) {
  std::array<uint16_t, kMaxLevel + 1> entries = {};
  int index = 0;
  for (int level = 0; level <= kMaxLevel; ++level) {
    const int64_t wanted = int64_t{level} * kLargestPrime;  // of 63 p
    auto distance = [&](int i) {
      const int64_t difference = int64_t{kMaxLevel} * primes[i] - wanted;
      return difference < 0 ? -difference : difference;
    };
    while (index + 1 < kPrimeCount && distance(index + 1) < distance(index)) ++index;
    entries[level] = static_cast<uint16_t>(index);
  }
  return entries;
}

constexpr std::array<uint32_t, kPrimeCount> kTable = make_primes();
static_assert(kTable[kPrimeCount - 1] == kLargestPrime);
constexpr std::array<int8_t, kPrimeCount> kLevels = make_levels(kTable);
constexpr std::array<uint16_t, kMaxLevel + 1> kEntries = make_entries(kTable);

}  // namespace

constinit const std::array<uint32_t, kPrimeCount> kPrimes = kTable;

int8_t level_of(uint16_t entry) noexcept {
  const int index = entry & kIndexMask;
  UPG_DCHECK(index < kPrimeCount);
  const int8_t level = kLevels[index];
  return static_cast<int8_t>((entry & kSignBit) != 0 ? -level : level);
}

uint16_t entry_of(int level) noexcept {
  UPG_DCHECK(-kMaxLevel <= level && level <= kMaxLevel);
  return level < 0 ? static_cast<uint16_t>(kEntries[-level] | kSignBit) : kEntries[level];
}

}  // namespace upg::codec
