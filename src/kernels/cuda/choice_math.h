// The arithmetic of choosing a token on the device: bins, keys, weights as integers. Plain C++, so
// that it is tested without a device.
#pragma once

#include <cstdint>
#include <limits>

namespace upg::kernels::cuda {

inline constexpr float kLargestLogit = std::numeric_limits<float>::max();

// ---- bins of the histogram: 64 a unit of logit, down to 32 units below the largest

inline constexpr int kBins = 2048;
inline constexpr float kBinsPerUnit = 64;

// Never decreases as the logit falls.
constexpr int bin_of(float logit, float largest) {
  const float distance = (largest - logit) * kBinsPerUnit;
  return distance < static_cast<float>(kBins - 1) ? static_cast<int>(distance) : kBins - 1;
}

// ---- keys: a better token has a larger one. 0 is no token.

constexpr uint64_t token_key(uint32_t logit_bits, int32_t id) {
  const uint32_t zero = logit_bits == 0x80000000u ? 0u : logit_bits;  // -0 and 0 are equal
  const uint32_t ordered = (zero & 0x80000000u) != 0 ? ~zero : zero | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(id);
}
constexpr uint32_t key_logit_bits(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return (ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered;
}
constexpr int32_t key_id(uint64_t key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

// ---- weights as integers: w in [0, 1] is round(w * 2^weight_bits), so that a whole vocabulary of
// them stays below 2^63

constexpr int weight_bits(int64_t vocabulary) {
  int bits = 62;
  for (int64_t n = 1; n < vocabulary; n *= 2) --bits;
  return bits;
}

// The draw's place among a sum of weights: floor(u * total), draw being u * 2^53. The token is the
// first whose running sum is larger.
constexpr uint64_t draw_place(uint64_t draw, uint64_t total) {
  const uint64_t u = draw << 11;  // times 2^64
  const uint64_t low = (u & 0xffffffffu) * (total & 0xffffffffu);
  const uint64_t a = (u >> 32) * (total & 0xffffffffu);
  const uint64_t b = (u & 0xffffffffu) * (total >> 32);
  const uint64_t carry = (low >> 32) + (a & 0xffffffffu) + (b & 0xffffffffu);
  return (u >> 32) * (total >> 32) + (a >> 32) + (b >> 32) + (carry >> 32);
}

}  // namespace upg::kernels::cuda
