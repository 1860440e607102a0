#include "codec/path_feedback.h"

#include <algorithm>

#include "base/check.h"
#include "codec/path_feedback_simd.h"
#include "codec/path_feedback_variants.h"

namespace upg::codec {
namespace feedback {
namespace {

// One chain a "register": the same source as the vector searches, for any processor.
struct Lane {
  static constexpr int kLanes = 1;
  using Mask = bool;
  using Index = int32_t;
  float v;

  static Lane load(const float* x) { return {*x}; }
  static Lane all(float x) { return {x}; }
  static Index index(int x) { return x; }
  static Index load_index(const uint8_t* x) { return *x; }
  static void store_bytes(Index x, uint8_t* out) { *out = static_cast<uint8_t>(x); }
  friend Lane operator+(Lane x, Lane y) { return {x.v + y.v}; }
  friend Lane operator-(Lane x, Lane y) { return {x.v - y.v}; }
  friend Lane operator*(Lane x, Lane y) { return {x.v * y.v}; }
  static Mask less(Lane x, Lane y) { return x.v < y.v; }
  static Mask equal(Index x, int n) { return x == n; }
  static Lane select(Mask m, Lane x, Lane y) { return m ? x : y; }
  static Index select(Mask m, Index x, Index y) { return m ? x : y; }
};

}  // namespace

void encode_plain(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                  const float* targets, int64_t count, int64_t stride, uint8_t* codes) {
  encode_lanes<Lane>(palettes, metric, closings, targets, count, stride, codes);
}

}  // namespace feedback

namespace {

constexpr int64_t kMaxLanes = 16;

const FeedbackVariant& best_variant() {
  for (const FeedbackVariant& variant : feedback_variants()) {
    if (variant.supported()) return variant;
  }
  return feedback_variants().back();
}

}  // namespace

void encode_chains_feedback(const PathPalettes& palettes, const ChainMetric& metric,
                            Closings closings, const float* targets, int64_t count,
                            uint8_t* codes) {
  const FeedbackVariant& variant = best_variant();
  UPG_DCHECK(variant.lanes <= kMaxLanes);
  if (closings == Closings::kNearest) encode_chains(palettes, targets, count, codes);
  const int64_t whole = count / variant.lanes * variant.lanes;
  if (whole > 0) variant.encode(palettes, metric, closings, targets, whole, count, codes);
  if (whole == count) return;
  float tail_targets[kChainLength * kMaxLanes] = {};
  uint8_t tail_codes[kChainLength * kMaxLanes] = {};
  for (int p = 0; p < kChainLength; ++p) {
    std::copy(targets + p * count + whole, targets + (p + 1) * count, tail_targets + p * kMaxLanes);
    std::copy(codes + p * count + whole, codes + (p + 1) * count, tail_codes + p * kMaxLanes);
  }
  variant.encode(palettes, metric, closings, tail_targets, variant.lanes, kMaxLanes, tail_codes);
  for (int p = 0; p < kChainLength; ++p) {
    std::copy_n(tail_codes + p * kMaxLanes, count - whole, codes + p * count + whole);
  }
}

double feedback_cost(const PathPalettes& palettes, const ChainMetric& metric, const float* targets,
                     const uint8_t* codes, int64_t target_stride, int64_t code_stride) {
  double cost = 0;
  double error[kChainLength];
  for (int q = 0; q < kChainLength; ++q) {
    double t = targets[q * target_stride];
    for (int p = 0; p < q; ++p) {
      t -= static_cast<double>(metric.carry[static_cast<size_t>(p)][static_cast<size_t>(q)]) *
           error[p];
    }
    const int before = (q + kChainLength - 1) % kChainLength;
    error[q] = t - palettes.a[codes[q * code_stride]] - palettes.b[codes[before * code_stride]];
    cost += static_cast<double>(metric.weight[static_cast<size_t>(q)]) * error[q] * error[q];
  }
  return cost;
}

}  // namespace upg::codec
