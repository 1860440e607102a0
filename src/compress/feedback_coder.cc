#include "compress/feedback_coder.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "codec/matrix.h"
#include "codec/path_layout.h"
#include "codec/primes.h"
#include "compress/linear_algebra.h"

namespace upg::compression {
namespace {

using codec::kBlockColumns;
using codec::kChainLength;
using codec::kMaxLevel;

// A chain's codes are taken only when they lower its loss by more than rounding.
constexpr double kGain = 1e-6;

}  // namespace

// The rows of one call on their way. Matrices are [count, cols] in coding order.
struct FeedbackCoder::Chunk {
  Chunk(int64_t rows, int64_t columns)
      : count(rows),
        cols(columns),
        target(size()),
        coded(size()),
        work(size()),
        codes(size()),
        scale(static_cast<size_t>(rows)),
        chain_targets(static_cast<size_t>(kChainLength * rows)),
        chain_codes(chain_targets.size()),
        block_carry(static_cast<size_t>(kBlockColumns * rows)) {}

  size_t size() const { return static_cast<size_t>(count * cols); }
  float* at(std::vector<float>& matrix, int64_t row, int64_t col) {
    return matrix.data() + row * cols + col;
  }
  // The level that a chain's codes give a position. codes: [16], `stride` apart.
  static int level(const codec::PathPalettes& palettes, const uint8_t* codes, int64_t stride,
                   int p) {
    const int before = (p + kChainLength - 1) % kChainLength;
    return palettes.a[codes[p * stride]] + palettes.b[codes[before * stride]];
  }

  int64_t count;
  int64_t cols;
  std::vector<float> target;  // what is to be coded
  std::vector<float> coded;   // what the codes stand for
  std::vector<float> work;    // first pass: target - coded; descent: (target - coded) H
  std::vector<uint8_t> codes;
  std::vector<float> scale;
  std::vector<float> target_gram;    // target H
  std::vector<float> chain_targets;  // [16, count] in levels
  std::vector<uint8_t> chain_codes;  // [16, count]
  std::vector<float> block_carry;    // [count, 128]
};

FeedbackCoder::FeedbackCoder(const CodingProblem& problem, const codec::PathFit& fit,
                             const CodingOptions& options)
    : problem_(problem), fit_(fit), options_(options) {
  const bool few_states = fit.palettes.bits <= 3;
  closings_ =
      options.all_closings && few_states ? codec::Closings::kAll : codec::Closings::kNearest;
}

CodingLoss FeedbackCoder::code(int64_t first_row, int64_t count, const float* rows,
                               codec::PathAssembly& out) const {
  const int64_t cols = problem_.cols();
  const std::vector<int32_t>& order = problem_.order();
  Chunk chunk(count, cols);
  for (int64_t r = 0; r < count; ++r) {
    double square = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const float w = rows[r * cols + order[static_cast<size_t>(c)]];
      *chunk.at(chunk.target, r, c) = w;
      square += static_cast<double>(w) * w;
    }
    const double rms = std::sqrt(square / static_cast<double>(cols));
    chunk.scale[static_cast<size_t>(r)] =
        static_cast<float>(kMaxLevel * rms / static_cast<double>(fit_.levels_per_rms));
  }
  problem_.undo_drift(options_.drift_share, first_row, count, chunk.target.data(),
                      chunk.work.data());
  first_pass(chunk);
  descend(chunk);
  std::vector<uint8_t> stored(static_cast<size_t>(cols));
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      stored[static_cast<size_t>(order[static_cast<size_t>(c)])] =
          chunk.codes[static_cast<size_t>(r * cols + c)];
    }
    out.set_row(first_row + r, stored.data(), chunk.scale[static_cast<size_t>(r)]);
  }
  return loss_of(chunk);
}

// work becomes target - coded, column after column.
void FeedbackCoder::first_pass(Chunk& chunk) const {
  const int64_t cols = chunk.cols;
  for (int64_t block = 0; block < cols; block += kBlockColumns) {
    // What the blocks before have left for these columns.
    if (block > 0) {
      multiply(chunk.count, kBlockColumns, block, chunk.work.data(), cols,
               problem_.factor() + block, cols, 0, chunk.block_carry.data(), kBlockColumns);
    } else {
      std::fill(chunk.block_carry.begin(), chunk.block_carry.end(), 0.0f);
    }
    for (int64_t chain = block; chain < block + kBlockColumns; chain += kChainLength) {
      if (chain > block) {  // and the chains before, in this block
        multiply(chunk.count, kChainLength, chain - block, chunk.at(chunk.work, 0, block), cols,
                 problem_.factor() + block * cols + chain, cols, 1,
                 chunk.block_carry.data() + (chain - block), kBlockColumns);
      }
      code_chain(chunk, chain / kChainLength);
    }
  }
}

void FeedbackCoder::code_chain(Chunk& chunk, int64_t chain) const {
  const ChainProblem& problem = problem_.chains()[static_cast<size_t>(chain)];
  const int64_t first = chain * kChainLength;
  for (int64_t r = 0; r < chunk.count; ++r) {
    const float* carry = chunk.block_carry.data() + r * kBlockColumns + first % kBlockColumns;
    const float* target = chunk.at(chunk.target, r, first);
    const float scale = chunk.scale[static_cast<size_t>(r)];
    const float factor = scale > 0 ? kMaxLevel / scale : 0;
    for (int q = 0; q < kChainLength; ++q) {
      float moved = target[q];
      for (int p = 0; p <= q; ++p) {
        moved += carry[p] * problem.carry_in[static_cast<size_t>(kChainLength * p + q)];
      }
      chunk.chain_targets[static_cast<size_t>(q * chunk.count + r)] = moved * factor;
    }
  }
  codec::encode_chains_feedback(fit_.palettes, problem.feedback, closings_,
                                chunk.chain_targets.data(), chunk.count, chunk.chain_codes.data());
  for (int64_t r = 0; r < chunk.count; ++r) {
    const uint8_t* codes = chunk.chain_codes.data() + r;
    const float unit = chunk.scale[static_cast<size_t>(r)] / kMaxLevel;
    for (int p = 0; p < kChainLength; ++p) {
      const float value =
          unit * static_cast<float>(Chunk::level(fit_.palettes, codes, chunk.count, p));
      *chunk.at(chunk.coded, r, first + p) = value;
      *chunk.at(chunk.work, r, first + p) = *chunk.at(chunk.target, r, first + p) - value;
      chunk.codes[static_cast<size_t>(r * chunk.cols + first + p)] = codes[p * chunk.count];
    }
  }
}

void FeedbackCoder::descend(Chunk& chunk) const {
  const int64_t cols = chunk.cols;
  chunk.target_gram.resize(chunk.size());
  multiply(chunk.count, cols, cols, chunk.target.data(), cols, problem_.gram(), cols, 0,
           chunk.target_gram.data(), cols);
  std::vector<float> difference(chunk.size());
  for (int round = 0; round <= options_.rounds; ++round) {
    for (size_t i = 0; i < difference.size(); ++i) difference[i] = chunk.target[i] - chunk.coded[i];
    multiply(chunk.count, cols, cols, difference.data(), cols, problem_.gram(), cols, 0,
             chunk.work.data(), cols);
    refit_scales(chunk);
    if (round == options_.rounds) break;
    for (int64_t block = 0; block < cols; block += kBlockColumns) {
      for (int64_t chain = block; chain < block + kBlockColumns; chain += kChainLength) {
        improve_chain(chunk, chain / kChainLength);
      }
      // What changed in this block, for the blocks after it. block_carry holds the changes.
      const int64_t rest = cols - block - kBlockColumns;
      if (rest > 0) {
        multiply(chunk.count, rest, kBlockColumns, chunk.block_carry.data(), kBlockColumns,
                 problem_.gram() + block * cols + block + kBlockColumns, cols, 1,
                 chunk.at(chunk.work, 0, block + kBlockColumns), cols);
      }
    }
  }
}

// The chain's best codes when all other columns stay as they are.
void FeedbackCoder::improve_chain(Chunk& chunk, int64_t chain) const {
  const ChainProblem& problem = problem_.chains()[static_cast<size_t>(chain)];
  const int64_t first = chain * kChainLength;
  for (int64_t r = 0; r < chunk.count; ++r) {
    const float scale = chunk.scale[static_cast<size_t>(r)];
    const float factor = scale > 0 ? kMaxLevel / scale : 0;
    const float* gradient = chunk.at(chunk.work, r, first);
    for (int p = 0; p < kChainLength; ++p) {
      float wanted = *chunk.at(chunk.coded, r, first + p);
      for (int q = 0; q < kChainLength; ++q) {
        wanted += problem.inverse[static_cast<size_t>(kChainLength * p + q)] * gradient[q];
      }
      chunk.chain_targets[static_cast<size_t>(p * chunk.count + r)] = wanted * factor;
    }
  }
  codec::encode_chains_feedback(fit_.palettes, problem.alone, closings_, chunk.chain_targets.data(),
                                chunk.count, chunk.chain_codes.data());
  for (int64_t r = 0; r < chunk.count; ++r) take_if_better(chunk, chain, r);
}

void FeedbackCoder::take_if_better(Chunk& chunk, int64_t chain, int64_t row) const {
  const ChainProblem& problem = problem_.chains()[static_cast<size_t>(chain)];
  const int64_t first = chain * kChainLength;
  const uint8_t* found = chunk.chain_codes.data() + row;
  const float* targets = chunk.chain_targets.data() + row;
  uint8_t* codes = chunk.codes.data() + row * chunk.cols + first;
  float* changes = chunk.block_carry.data() + row * kBlockColumns + first % kBlockColumns;
  std::fill_n(changes, kChainLength, 0.0f);
  const double now =
      codec::feedback_cost(fit_.palettes, problem.alone, targets, found, chunk.count, chunk.count);
  const double before =
      codec::feedback_cost(fit_.palettes, problem.alone, targets, codes, chunk.count, 1);
  if (!(now < before * (1 - kGain))) return;
  const float unit = chunk.scale[static_cast<size_t>(row)] / kMaxLevel;
  for (int p = 0; p < kChainLength; ++p) {
    float* value = chunk.at(chunk.coded, row, first + p);
    const float fresh =
        unit * static_cast<float>(Chunk::level(fit_.palettes, found, chunk.count, p));
    changes[p] = *value - fresh;  // of target - coded
    *value = fresh;
  }
  for (int p = 0; p < kChainLength; ++p) codes[p] = found[p * chunk.count];
  // The rest of this block sees the change at once.
  const int64_t block = first / kBlockColumns * kBlockColumns;
  float* gradient = chunk.at(chunk.work, row, block);
  for (int p = 0; p < kChainLength; ++p) {
    const float* gram = problem_.gram() + (first + p) * chunk.cols + block;
    for (int c = 0; c < kBlockColumns; ++c) gradient[c] += changes[p] * gram[c];
  }
}

// The scale that is best for a row's codes: s with min (t - s q) H (t - s q)^T.
void FeedbackCoder::refit_scales(Chunk& chunk) const {
  for (int64_t r = 0; r < chunk.count; ++r) {
    double product = 0;
    double square = 0;
    const float* coded = chunk.at(chunk.coded, r, 0);
    const float* target_gram = chunk.at(chunk.target_gram, r, 0);
    float* gradient = chunk.at(chunk.work, r, 0);
    for (int64_t c = 0; c < chunk.cols; ++c) {
      product += static_cast<double>(coded[c]) * target_gram[c];
      square += static_cast<double>(coded[c]) * (target_gram[c] - gradient[c]);
    }
    const double ratio = product / square;
    if (!(ratio > 0.5 && ratio < 2)) continue;  // too little input energy to say
    const auto by = static_cast<float>(ratio);
    float* values = chunk.at(chunk.coded, r, 0);
    for (int64_t c = 0; c < chunk.cols; ++c) {
      // gradient = (t - q) H and becomes (t - s q) H.
      gradient[c] = target_gram[c] - by * (target_gram[c] - gradient[c]);
      values[c] *= by;
    }
    chunk.scale[static_cast<size_t>(r)] *= by;
  }
}

CodingLoss FeedbackCoder::loss_of(Chunk& chunk) const {
  CodingLoss sums;
  for (size_t i = 0; i < chunk.size(); ++i) {
    const double difference = chunk.target[i] - chunk.coded[i];
    sums.loss += difference * chunk.work[i];
    sums.power += static_cast<double>(chunk.target[i]) * chunk.target_gram[i];
  }
  return sums;
}

}  // namespace upg::compression
