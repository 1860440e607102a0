#include "codec/path_viterbi.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace upg::codec {
namespace viterbi {

Tables make_tables(const PathPalettes& palettes) {
  constexpr int32_t kUnit = static_cast<int32_t>(kTargetScale) << kIndexBits;
  Tables tables = {};
  for (int i = 0; i < 1 << palettes.bits; ++i) {
    const int a{palettes.a[i]};
    const int b{palettes.b[i]};
    tables.a_square[i] = kUnit * a * a;
    tables.b_square[i] = kUnit * b * b + i;
    tables.a_factor[i] = (2 << kIndexBits) * a;
    tables.b_factor[i] = (2 << kIndexBits) * b;
    for (int j = 0; j < 1 << palettes.bits; ++j) {
      tables.cross[i][j] = 2 * kUnit * a * palettes.b[j];
    }
  }
  return tables;
}

int32_t fixed_point(float target) {
  const float low = target > -kTargetLimit ? target : -kTargetLimit;
  return static_cast<int32_t>(
      std::nearbyint((low < kTargetLimit ? low : kTargetLimit) * kTargetScale));
}

namespace {

// One position for all codes. cost: [states] of the best path that ends in each code, in and out;
// before: [states] the code before on that path.
void step(const Tables& tables, int states, int32_t q, int32_t* cost, uint8_t* before) {
  int32_t from[kMaxStates];
  for (int s = 0; s < states; ++s) {
    from[s] = (cost[s] & ~kIndexMask) + tables.b_square[s] - q * tables.b_factor[s];
  }
  for (int s = 0; s < states; ++s) {
    int32_t best = from[0] + tables.cross[s][0];
    for (int t = 1; t < states; ++t) best = std::min(best, from[t] + tables.cross[s][t]);
    before[s] = static_cast<uint8_t>(best & kIndexMask);
    cost[s] = best + tables.a_square[s] - q * tables.a_factor[s];
  }
}

}  // namespace

int closing_code(const Tables& tables, int states, const int32_t* q) {
  int32_t cost[kMaxStates] = {};
  uint8_t before[kChainLength][kMaxStates];
  for (int i = 0; i < kOpenSteps; ++i) {
    const int position = (kOpenStart + i) % kChainLength;
    step(tables, states, q[position], cost, before[position]);
  }
  int32_t best = cost[0] & ~kIndexMask;
  for (int s = 1; s < states; ++s) best = std::min(best, (cost[s] & ~kIndexMask) | s);
  int code = best & kIndexMask;
  for (int p = kOpenEnd; p >= 0; --p) code = before[p][code];
  return code;
}

void closed_path(const Tables& tables, int states, const int32_t* q, int closing, uint8_t* codes) {
  int32_t cost[kMaxStates];
  std::fill_n(cost, kMaxStates, kClosed);
  cost[closing] = 0;
  uint8_t before[kChainLength][kMaxStates];
  for (int p = 0; p < kChainLength; ++p) step(tables, states, q[p], cost, before[p]);
  int code = closing;
  for (int p = kChainLength - 1; p >= 0; --p) {
    codes[p] = static_cast<uint8_t>(code);
    code = before[p][code];
  }
  UPG_DCHECK(code == closing);
}

void encode_plain(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                  uint8_t* codes) {
  const Tables tables = make_tables(palettes);
  const int states = 1 << palettes.bits;
  for (int64_t chain = 0; chain < count; ++chain) {
    int32_t q[kChainLength];
    uint8_t path[kChainLength];
    for (int p = 0; p < kChainLength; ++p) q[p] = fixed_point(targets[p * stride + chain]);
    closed_path(tables, states, q, closing_code(tables, states, q), path);
    for (int p = 0; p < kChainLength; ++p) codes[p * stride + chain] = path[p];
  }
}

}  // namespace viterbi

namespace {

constexpr int64_t kMaxLanes = 32;

const ViterbiVariant& best_variant() {
  static const ViterbiVariant& best = []() -> const ViterbiVariant& {
    for (const ViterbiVariant& variant : viterbi_variants()) {
      if (variant.supported()) return variant;
    }
    return viterbi_variants().back();
  }();
  return best;
}

}  // namespace

void encode_chains(const PathPalettes& palettes, const float* targets, int64_t count,
                   uint8_t* codes) {
  const ViterbiVariant& variant = best_variant();
  UPG_DCHECK(variant.lanes <= kMaxLanes);
  const int64_t whole = count / variant.lanes * variant.lanes;
  if (whole > 0) variant.encode(palettes, targets, whole, count, codes);
  if (whole == count) return;
  float tail_targets[kChainLength * kMaxLanes] = {};
  uint8_t tail_codes[kChainLength * kMaxLanes];
  for (int p = 0; p < kChainLength; ++p) {
    std::copy(targets + p * count + whole, targets + (p + 1) * count, tail_targets + p * kMaxLanes);
  }
  variant.encode(palettes, tail_targets, variant.lanes, kMaxLanes, tail_codes);
  for (int p = 0; p < kChainLength; ++p) {
    std::copy_n(tail_codes + p * kMaxLanes, count - whole, codes + p * count + whole);
  }
}

int64_t path_cost(const PathPalettes& palettes, const float* targets, const uint8_t* codes,
                  int64_t stride) {
  int64_t cost = 0;
  for (int p = 0; p < kChainLength; ++p) {
    const int before = codes[(p + kChainLength - 1) % kChainLength * stride];
    const int64_t level = palettes.a[codes[p * stride]] + palettes.b[before];
    const int64_t q = viterbi::fixed_point(targets[p * stride]);
    cost += static_cast<int64_t>(viterbi::kTargetScale) * level * level - 2 * q * level;
  }
  return cost;
}

}  // namespace upg::codec
