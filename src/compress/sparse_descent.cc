#include "compress/sparse_descent.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "codec/matrix.h"
#include "codec/primes.h"
#include "codec/sparse_assembly.h"
#include "compress/linear_algebra.h"

namespace upg::compression {
namespace {

using codec::kBlockColumns;
using codec::kMaxLevel;

constexpr float kNever = std::numeric_limits<float>::infinity();
// An exchange must lower the loss by more than rounding.
constexpr float kGain = 1e-6f;

struct Choice {
  float value;
  float gain;  // over zero
};

// What is best for a weight when the others stay: x in general, here a level near it.
Choice choice_of(float value, float x, float diagonal) {
  return {value, diagonal * value * (2 * x - value)};
}

}  // namespace

SparseRows::SparseRows(const CodingProblem& problem, int64_t first_row, int64_t count,
                       const float* rows, std::optional<int64_t> keep, float drift_share)
    : problem_(problem),
      count_(count),
      cols_(problem.cols()),
      target_(size()),
      value_(size()),
      gradient_(size()),
      gain_(size()),
      allowed_(size()),
      changes_(static_cast<size_t>(count * kBlockColumns)),
      threshold_(static_cast<size_t>(count)),
      scale_(static_cast<size_t>(count)) {
  const std::vector<int32_t>& order = problem.order();
  for (int64_t c = 0; c < cols_; ++c) {
    diagonal_.push_back(problem.gram()[c * (cols_ + 1)] + static_cast<float>(problem.damping()));
  }
  for (int64_t r = 0; r < count; ++r) {
    int64_t most = 0;
    for (size_t c = 0; c < order.size(); ++c) {
      const float w = rows[r * cols_ + order[c]];
      target_[at(r) + c] = w;
      allowed_[at(r) + c] = w != 0;
      most += w != 0;
    }
    budget_.push_back(std::min(most, keep.value_or(most)));
  }
  problem_.undo_drift(drift_share, first_row, count_, target_.data(), gradient_.data());
}

void SparseRows::choose(int rounds) {
  // What may not be stored is in the way of the rest from the start.
  std::vector<float> difference(size());
  for (size_t i = 0; i < size(); ++i) {
    value_[i] = allowed_[i] != 0 ? target_[i] : 0;
    difference[i] = target_[i] - value_[i];
  }
  multiply(count_, cols_, cols_, difference.data(), cols_, problem_.gram(), cols_, 0,
           gradient_.data(), cols_);
  for (int64_t r = 0; r < count_; ++r) {
    for (size_t c = 0; c < diagonal_.size(); ++c) {
      const size_t i = at(r) + c;
      gradient_[i] += static_cast<float>(problem_.damping()) * difference[i];
      const float x = value_[i] + gradient_[i] / diagonal_[c];
      gain_[i] = allowed_[i] != 0 ? diagonal_[c] * x * x : -kNever;
    }
  }
  set_thresholds();
  for (int round = 0; round < rounds; ++round) {
    sweep([&](int64_t, float x, float diagonal) { return choice_of(x, x, diagonal); });
    set_thresholds();
  }
}

// value(row, x, diagonal): the Choice for a weight whose best value is x.
template <class Value>
void SparseRows::sweep(const Value& value) {
  for (int64_t block = 0; block < cols_; block += kBlockColumns) {
    for (int64_t r = 0; r < count_; ++r) sweep_block(value, r, block);
    spread(block);
  }
}

template <class Value>
void SparseRows::sweep_block(const Value& value, int64_t row, int64_t block) {
  float* changes = changes_.data() + row * kBlockColumns;
  std::fill_n(changes, kBlockColumns, 0.0f);
  const size_t first = at(row) + static_cast<size_t>(block);
  float* gradient = gradient_.data() + first;
  const float threshold = threshold_[static_cast<size_t>(row)];
  for (int64_t i = 0; i < kBlockColumns; ++i) {
    const size_t here = first + static_cast<size_t>(i);
    if (allowed_[here] == 0) continue;
    const float diagonal = diagonal_[static_cast<size_t>(block + i)];
    const Choice choice = value(row, value_[here] + gradient[i] / diagonal, diagonal);
    gain_[here] = choice.gain;
    const float now = choice.gain >= threshold ? choice.value : 0;
    const float change = value_[here] - now;
    if (change == 0) continue;
    value_[here] = now;
    changes[i] = change;
    const float* gram = problem_.gram() + (block + i) * cols_ + block;
    for (int64_t c = 0; c < kBlockColumns; ++c) gradient[c] += change * gram[c];
    gradient[i] += change * static_cast<float>(problem_.damping());
  }
}

// What changed in a block, for the columns outside it.
void SparseRows::spread(int64_t block) {
  const float* gram = problem_.gram() + block * cols_;
  const int64_t after = block + kBlockColumns;
  if (block > 0) {
    multiply(count_, block, kBlockColumns, changes_.data(), kBlockColumns, gram, cols_, 1,
             gradient_.data(), cols_);
  }
  if (after < cols_) {
    multiply(count_, cols_ - after, kBlockColumns, changes_.data(), kBlockColumns, gram + after,
             cols_, 1, gradient_.data() + after, cols_);
  }
}

// As many weights as a row may store gained as much in the sweep before.
void SparseRows::set_thresholds() {
  std::vector<float> gains(static_cast<size_t>(cols_));
  for (int64_t r = 0; r < count_; ++r) {
    const auto row = static_cast<size_t>(r);
    if (budget_[row] == 0) {
      threshold_[row] = kNever;
      continue;
    }
    std::copy_n(gain_.begin() + r * cols_, cols_, gains.begin());
    const auto last = gains.begin() + budget_[row] - 1;
    std::nth_element(gains.begin(), last, gains.end(), std::greater<>());
    threshold_[row] = *last;
  }
}

void SparseRows::append_stored(std::vector<float>& out) const {
  for (int64_t r = 0; r < count_; ++r) {
    double square = 0;
    int64_t stored = 0;
    for (size_t i = at(r); i < at(r + 1); ++i) {
      square += static_cast<double>(value_[i]) * value_[i];
      stored += value_[i] != 0;
    }
    const double rms = std::sqrt(square / static_cast<double>(std::max<int64_t>(stored, 1)));
    if (!(rms > 0)) continue;
    for (size_t i = at(r); i < at(r + 1); ++i) {
      if (value_[i] != 0) out.push_back(static_cast<float>(value_[i] / rms));
    }
  }
}

void SparseRows::set_levels(const codec::SparseFit& fit) {
  fit_ = fit;
  nearest_.emplace(fit.level, codec::NearestCode::Zero::kNever);
  nearest_or_zero_.emplace(fit.level);
  for (int64_t r = 0; r < count_; ++r) {
    double square = 0;
    int64_t stored = 0;
    for (size_t i = at(r); i < at(r + 1); ++i) {
      square += static_cast<double>(value_[i]) * value_[i];
      stored += value_[i] != 0;
    }
    const double rms = std::sqrt(square / static_cast<double>(std::max<int64_t>(stored, 1)));
    scale_[static_cast<size_t>(r)] = static_cast<float>(kMaxLevel * rms / fit.levels_per_rms);
  }
  target_gram_.resize(size());
  multiply(count_, cols_, cols_, target_.data(), cols_, problem_.gram(), cols_, 0,
           target_gram_.data(), cols_);
  const auto damping = static_cast<float>(problem_.damping());
  for (size_t i = 0; i < size(); ++i) target_gram_[i] += damping * target_[i];
}

void SparseRows::choose_levels(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    sweep([&](int64_t row, float x, float diagonal) {
      const float scale = scale_[static_cast<size_t>(row)];
      const float unit = scale / kMaxLevel;
      const uint8_t code = scale > 0 ? (*nearest_)(x / unit) : 0;
      return choice_of(unit * static_cast<float>(fit_.level[code]), x, diagonal);
    });
    set_thresholds();
    refit_scales();
  }
}

void SparseRows::refine_levels(int rounds) {
  std::fill(threshold_.begin(), threshold_.end(), -kNever);
  for (int round = 0; round < rounds; ++round) {
    sweep([&](int64_t row, float x, float diagonal) {
      const float scale = scale_[static_cast<size_t>(row)];
      const float unit = scale / kMaxLevel;
      const uint8_t code = scale > 0 ? (*nearest_or_zero_)(x / unit) : 0;
      return choice_of(unit * static_cast<float>(fit_.level[code]), x, diagonal);
    });
    refit_scales();
  }
}

// The scale that is best for a row's levels: s with min (t - s q) H (t - s q)^T.
void SparseRows::refit_scales() {
  for (int64_t r = 0; r < count_; ++r) {
    double product = 0;
    double square = 0;
    for (size_t i = at(r); i < at(r + 1); ++i) {
      product += static_cast<double>(value_[i]) * target_gram_[i];
      square += static_cast<double>(value_[i]) * (target_gram_[i] - gradient_[i]);
    }
    const double ratio = product / square;
    if (!(ratio > 0.5 && ratio < 2)) continue;  // too little input energy to say
    const auto by = static_cast<float>(ratio);
    for (size_t i = at(r); i < at(r + 1); ++i) {
      // gradient = (t - q) H and becomes (t - s q) H.
      gradient_[i] = target_gram_[i] - by * (target_gram_[i] - gradient_[i]);
      value_[i] *= by;
    }
    scale_[static_cast<size_t>(r)] *= by;
  }
}

// One weight anew, and what that means for all others of its row.
void SparseRows::change(int64_t row, int64_t col, float value) {
  const size_t here = at(row) + static_cast<size_t>(col);
  const float change = value_[here] - value;
  value_[here] = value;
  const float* gram = problem_.gram() + col * cols_;
  float* gradient = gradient_.data() + row * cols_;
  for (int64_t c = 0; c < cols_; ++c) gradient[c] += change * gram[c];
  gradient[col] += change * static_cast<float>(problem_.damping());
}

// The weights of a row that are easiest to do without and most worth having.
struct SparseRows::Exchange {
  int64_t out = -1;
  float cost = kNever;
  int64_t in = -1;
  float gain = -kNever;
};

float SparseRows::best_level(int64_t row, int64_t col) const {
  const float unit = scale_[static_cast<size_t>(row)] / kMaxLevel;
  if (!(unit > 0)) return 0;
  const float x =
      gradient_[at(row) + static_cast<size_t>(col)] / diagonal_[static_cast<size_t>(col)];
  return unit * static_cast<float>(fit_.level[(*nearest_)(x / unit)]);
}

SparseRows::Exchange SparseRows::find_exchange(int64_t row) const {
  Exchange found;
  for (int64_t c = 0; c < cols_; ++c) {
    const size_t i = at(row) + static_cast<size_t>(c);
    if (allowed_[i] == 0) continue;
    const float diagonal = diagonal_[static_cast<size_t>(c)];
    if (value_[i] != 0) {
      const float cost = value_[i] * (2 * gradient_[i] + diagonal * value_[i]);
      if (cost < found.cost) found.cost = cost, found.out = c;
    } else {
      const float gain = choice_of(best_level(row, c), gradient_[i] / diagonal, diagonal).gain;
      if (gain > found.gain) found.gain = gain, found.in = c;
    }
  }
  return found;
}

void SparseRows::repair_row(int64_t row) {
  const int64_t budget = budget_[static_cast<size_t>(row)];
  int64_t stored = 0;
  for (size_t i = at(row); i < at(row + 1); ++i) stored += value_[i] != 0;
  for (; stored > budget; --stored) change(row, find_exchange(row).out, 0);
  for (; stored < budget; ++stored) {
    const Exchange found = find_exchange(row);
    if (!(found.gain > 0)) break;  // the rest may as well be zero
    change(row, found.in, best_level(row, found.in));
  }
  for (int64_t swaps = stored / 8; swaps > 0 && stored == budget; --swaps) {
    const Exchange found = find_exchange(row);
    if (found.out < 0 || found.in < 0) break;
    const float in = best_level(row, found.in);
    const float out = value_[at(row) + static_cast<size_t>(found.out)];
    const float together = 2 * in * out * problem_.gram()[found.in * cols_ + found.out];
    if (!(found.gain + together > found.cost + kGain * found.cost)) break;
    change(row, found.out, 0);
    change(row, found.in, in);
  }
}

void SparseRows::repair() {
  for (int64_t r = 0; r < count_; ++r) {
    repair_row(r);
    int64_t missing = budget_[static_cast<size_t>(r)];
    for (size_t i = at(r); i < at(r + 1); ++i) missing -= value_[i] != 0;
    for (size_t i = at(r); i < at(r + 1); ++i) {
      const bool fill = value_[i] == 0 && allowed_[i] != 0 && missing > 0;
      missing -= fill;
      allowed_[i] = value_[i] != 0 || fill;
    }
  }
}

void SparseRows::codes_of(int64_t row, uint8_t* codes) const {
  const float unit = scale(row) / kMaxLevel;
  for (size_t c = 0; c < problem_.order().size(); ++c) {
    const size_t i = at(row) + c;
    uint8_t code = codec::SparseAssembly::kNotStored;
    if (allowed_[i] != 0) code = unit > 0 ? (*nearest_or_zero_)(value_[i] / unit) : uint8_t{0};
    codes[problem_.order()[c]] = code;
  }
}

CodingLoss SparseRows::loss() const {
  CodingLoss sums;
  for (size_t i = 0; i < size(); ++i) {
    const double difference = static_cast<double>(target_[i]) - value_[i];
    sums.loss += difference * (gradient_[i] - problem_.damping() * difference);
    sums.power += target_[i] * (target_gram_[i] - problem_.damping() * target_[i]);
  }
  return sums;
}

}  // namespace upg::compression
