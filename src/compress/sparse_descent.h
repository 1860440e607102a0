// Rows on their way to few weights: coordinate descent on the quadratic loss of a coding problem.
//
// Every sweep visits the columns one after another. A weight becomes what is best while all others
// of its row stay, and stays zero where being anything else gains less than the row's threshold:
// coordinate descent with a price on every stored weight (Hazimeh and Mazumder 2020). Thresholds
// follow the gains of the sweep before, so that each row comes close to the number of weights it
// may store; repair() makes it exact.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "codec/sparse_levels.h"
#include "compress/coding_problem.h"
#include "compress/feedback_coder.h"

namespace upg::compression {

// Matrices are [count, cols] in the problem's order. The loss is that of the damped moments.
class SparseRows {
 public:
  // Rows [first_row, first_row + count) of a matrix: [count, problem.cols()], storage order; what
  // is zero there stays zero. keep: weights a row may store; nothing: all that are not zero. The
  // problem must outlive this.
  SparseRows(const CodingProblem& problem, int64_t first_row, int64_t count, const float* rows,
             std::optional<int64_t> keep, float drift_share);

  // Sweeps with values of any kind, starting from the targets themselves.
  void choose(int rounds);
  // Appends what is stored now, each value divided by the root mean square of its row's.
  void append_stored(std::vector<float>& out) const;

  // From now on values are scale * level / 63; rows get the scale that suits what they store.
  void set_levels(const codec::SparseFit& fit);
  // Sweeps with levels, after each the rows' scales by least squares.
  void choose_levels(int rounds);
  // Makes every row store exactly what it may, then exchanges stored weights for others while that
  // helps. From now on what is stored stays so, though it may have level 0.
  void repair();
  void refine_levels(int rounds);

  // codes: [cols] in storage order of the problem, SparseAssembly::kNotStored where nothing is.
  void codes_of(int64_t row, uint8_t* codes) const;
  float scale(int64_t row) const { return scale_[static_cast<size_t>(row)]; }
  CodingLoss loss() const;  // of the moments without damping

 private:
  struct Exchange;

  size_t size() const { return static_cast<size_t>(count_ * cols_); }
  size_t at(int64_t row) const { return static_cast<size_t>(row * cols_); }
  template <class Value>
  void sweep(const Value& value);
  template <class Value>
  void sweep_block(const Value& value, int64_t row, int64_t block);
  void spread(int64_t block);
  void set_thresholds();
  void change(int64_t row, int64_t col, float value);
  void repair_row(int64_t row);
  float best_level(int64_t row, int64_t col) const;
  Exchange find_exchange(int64_t row) const;
  void refit_scales();

  const CodingProblem& problem_;
  int64_t count_;
  int64_t cols_;
  std::vector<float> diagonal_;     // [cols], of the damped moments
  std::vector<float> target_;       // what is to be coded
  std::vector<float> value_;        // what it is coded as
  std::vector<float> gradient_;     // (target - value) times the damped moments
  std::vector<float> target_gram_;  // target times the damped moments; once there are levels
  std::vector<float> gain_;         // by how much the loss falls by storing a weight
  std::vector<uint8_t> allowed_;    // what may be stored
  std::vector<float> changes_;      // [count, 128]: value before - value now, of a block
  std::vector<int64_t> budget_;     // [count]: weights to store
  std::vector<float> threshold_;    // [count]
  std::vector<float> scale_;        // [count]
  codec::SparseFit fit_;
  std::optional<codec::NearestCode> nearest_;  // of the 15 levels
  std::optional<codec::NearestCode> nearest_or_zero_;
};

}  // namespace upg::compression
