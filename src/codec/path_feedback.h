// The search for the best path where errors matter together: calibrated coding.
//
// The loss of a chain's errors e is the quadratic form e^T K e that is left when all later weights
// may still move. With K^-1 = U^T U (U upper triangular) it is the sum over positions p of
//
//   weight[p] * (t_p - level_p)^2,   t_q = target_q - sum over p < q of carry[p][q] * (t_p -
//   level_p), weight[p] = 1 / U[p][p]^2,       carry[p][q] = U[p][q] / U[p][p],
//
// which is error feedback (GPTQ, Frantar et al. 2022) inside the chain. Every survivor of the
// search carries the errors of its own path (per-survivor processing, Raheli et al. 1995), so that
// a choice is judged by what it does to the weights after it. On the Hessians of a 74 M parameter
// model this lowers the loss of a matrix by 4 to 12 % against feedback between chains alone.
//
// Arithmetic is float32 in a fixed order without fused operations, one chain a lane: every variant
// gives the same codes on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "codec/path_layout.h"
#include "codec/path_viterbi.h"

namespace upg::codec {

struct ChainMetric {
  std::array<float, kChainLength> weight = {};                           // > 0, finite
  std::array<std::array<float, kChainLength>, kChainLength> carry = {};  // [p][q], q > p; else 0
};

// Which codes are tried at position 15 (and so before position 0).
enum class Closings {
  kNearest,  // the one of the path that encode_chains would take
  kAll,      // every one: exact but for the survivors' choices, 2^bits times the work
};

// targets: [16, count] in levels, not NaN. codes: [16, count]. Any count.
void encode_chains_feedback(const PathPalettes& palettes, const ChainMetric& metric,
                            Closings closings, const float* targets, int64_t count, uint8_t* codes);

// The loss as above of one closed chain. targets: [16], codes: [16], each its stride apart.
double feedback_cost(const PathPalettes& palettes, const ChainMetric& metric, const float* targets,
                     const uint8_t* codes, int64_t target_stride, int64_t code_stride);

// One implementation, for tests; the last is plain and always supported. codes holds the nearest
// closing code at position 15 on entry where closings is kNearest.
struct FeedbackVariant {
  std::string_view name;
  bool (*supported)();
  int lanes;
  void (*encode)(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                 const float* targets, int64_t count, int64_t stride, uint8_t* codes);
};
std::span<const FeedbackVariant> feedback_variants();

}  // namespace upg::codec
