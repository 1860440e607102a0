// The search for the best path: for every chain the closed sequence of 16 codes whose levels
// a[code] + b[code before] come nearest to the targets in the sum of squares.
//
// Trellis-coded quantisation (Marcellin and Fischer 1990) with the code as the state. A closed
// chain takes two searches: an open one around the ring, 4 ... 15, 0 ... 11, which tells the code
// at position 15 (there 12 steps from both ends), then one with that code fixed at both ends, which
// is exact. Mean squared error at 3 bits over a unit Gaussian, same palettes: open search of 16
// steps 0.02576, of 24 0.02545, of 32 0.02535, all closing codes tried 0.02528.
//
// All costs are integers, so every variant gives the same codes on every machine:
//   q = round-half-even(clamp(target, -252, 252) * 64)
//   cost of a level l = 64 l^2 - 2 q l            (the target's own square is left out)
// With |l| <= 63 a path of 24 steps stays below 2^26 in magnitude; times 16, for the four low bits
// that carry the index of the code before through additions and minima, below 2^30.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "codec/path_layout.h"

namespace upg::codec {

struct PathPalettes {
  int bits = 0;                   // 2, 3 or 4
  std::array<int8_t, 16> a = {};  // [2^bits] by the code, |a + b| <= 63 for every pair
  std::array<int8_t, 16> b = {};  // [2^bits] by the code before
};

// targets: [16, count] in levels (weight * 63 / scale), position by position; not NaN.
// codes: [16, count]. Any count.
void encode_chains(const PathPalettes& palettes, const float* targets, int64_t count,
                   uint8_t* codes);

// The same search in one implementation, for tests and benchmarks; encode_chains takes the first
// that is supported. The last one is plain and always supported.
struct ViterbiVariant {
  std::string_view name;  // "avx512", "avx2", "plain"
  bool (*supported)();
  int lanes;  // count must be a multiple of it
  void (*encode)(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                 uint8_t* codes);  // targets and codes: [16, stride], the first `count` used
};
std::span<const ViterbiVariant> viterbi_variants();

// The cost as above of one closed chain. targets: [16], codes: [16], both `stride` apart.
int64_t path_cost(const PathPalettes& palettes, const float* targets, const uint8_t* codes,
                  int64_t stride);

namespace viterbi {

inline constexpr int kMaxStates = 16;
inline constexpr int kIndexBits = 4;  // low bits of a cost: the code before
inline constexpr int kIndexMask = (1 << kIndexBits) - 1;
inline constexpr float kTargetLimit = 252.0f;
inline constexpr float kTargetScale = 64.0f;
inline constexpr int32_t kClosed = 1 << 30;  // a state that the chain may not start from

// What the searches need of the palettes, all times 2^kIndexBits.
struct Tables {
  // Cost of l = a + b:  64 (a^2 + 2 a b + b^2) - 2 q (a + b), in parts by what they depend on.
  int32_t a_square[kMaxStates];           // 64 a^2
  int32_t b_square[kMaxStates];           // 64 b^2 + index, the code before
  int32_t a_factor[kMaxStates];           // 2 a, times q
  int32_t b_factor[kMaxStates];           // 2 b
  int32_t cross[kMaxStates][kMaxStates];  // [code][code before], 128 a b
};

Tables make_tables(const PathPalettes& palettes);

// The open search starts at this position and takes this many steps around the ring.
inline constexpr int kOpenStart = 4;
inline constexpr int kOpenSteps = 24;
inline constexpr int kOpenEnd = (kOpenStart + kOpenSteps - 1) % kChainLength;

// The code at position 15 of the best open path, and the best path that has `closing` there and
// before position 0: the reference, for any number of states in 2 ... 16 (the first of the
// palettes). q: [16] fixed-point targets.
int closing_code(const Tables& tables, int states, const int32_t* q);
void closed_path(const Tables& tables, int states, const int32_t* q, int closing, uint8_t* codes);

int32_t fixed_point(float target);

}  // namespace viterbi
}  // namespace upg::codec
