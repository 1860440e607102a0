// What the rows of a matrix share when they are coded against its inputs: the order of the columns,
// the second moments, and the factor that says how an error is best made good by later columns.
//
// Columns are coded block by block, within a block chain by chain, within a chain by position, so
// that the 16 codes of a chain are neighbours. Blocks with more input energy come first: their
// errors have more columns left to be made good by. Everything here is in that order.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "codec/path_feedback.h"

namespace upg::compression {

// Sums over the calibration tokens of a matrix's inputs x (of the model as compressed so far, in
// the basis the codes are in) and x' (of the original model), and of the residual streams r and r'
// to which the matrix adds its outputs, before it does.
struct Moments {
  int64_t cols = 0;          // padded_cols
  std::vector<float> gram;   // [cols, cols], x x^T
  std::vector<float> drift;  // [cols, cols], (x' - x) x^T; empty where none was measured
  // [rows, cols], (r' - r) x^T; empty where the outputs go elsewhere.
  std::vector<float> residual;
};

// One chain's part of the problem.
struct ChainProblem {
  codec::ChainMetric feedback;           // of coding with all later columns free
  std::array<float, 256> carry_in = {};  // (I + V_kk)^-1, applied to what earlier columns left
  codec::ChainMetric alone;              // of coding with all other columns fixed
  std::array<float, 256> inverse = {};   // of the chain's part of the Gram matrix
};

// The columns in the order they are coded in. diagonal: of the Gram matrix, [cols].
std::vector<int32_t> coding_order(const std::vector<float>& diagonal);
// factor, gram: the chain's part of those matrices, [16, 16]; pivots: [16]. damping: as it was
// added to the diagonal of what was factorised.
ChainProblem make_chain(const float* factor, const float* gram, const float* pivots,
                        double damping);
// Throws Error(kInvalidData) naming the tensor: a moment that is no number, no factor.
[[noreturn]] void fail_moments(std::string_view tensor, float found);
[[noreturn]] void fail_factor(std::string_view tensor);
inline constexpr double kMaxDamping = 10;

class CodingProblem {
 public:
  // damping: added to the diagonal, as a share of its mean; raised until the factor exists.
  // Throws Error(kInvalidData) naming `tensor` when a moment is not finite.
  CodingProblem(Moments moments, double damping, std::string_view tensor);

  int64_t cols() const noexcept { return cols_; }
  const std::vector<int32_t>& order() const noexcept {
    return order_;
  }                                                                // [i]: the column coded i-th
  const float* gram() const noexcept { return gram_.data(); }      // [cols, cols]
  const float* factor() const noexcept { return factor_.data(); }  // unit upper, [cols, cols]
  const std::vector<ChainProblem>& chains() const noexcept { return chains_; }  // [cols / 16]
  double damping() const noexcept { return damping_; }                          // as used

  // Moves targets, rows [first, first + count) of the weights w, `share` of the way to the weights
  // that reproduce the original model's outputs, and where they add to the residual stream what it
  // holds behind them, from the compressed model's inputs: w + (w drift + residual) gram^-1, by
  // least squares. scratch: [count, cols].
  void undo_drift(float share, int64_t first, int64_t count, float* targets, float* scratch) const;

 private:
  void build_factor(double damping, std::string_view tensor);
  void build_chains();

  int64_t cols_;
  std::vector<int32_t> order_;
  std::vector<float> gram_;
  std::vector<float> drift_;
  std::vector<float> residual_;
  std::vector<float> factor_;
  std::vector<float> pivots_;  // [cols]
  std::vector<ChainProblem> chains_;
  double damping_ = 0;
};

}  // namespace upg::compression
