#include "compress/coding_problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/threads.h"
#include "codec/rotation.h"
#include "compress/linear_algebra.h"
#include "compress/moments.h"

namespace upg::compression {
namespace {

constexpr int64_t kCols = 200;  // padded to 256
constexpr int64_t kRows = 6;
constexpr int64_t kTokens = 1000;

std::vector<float> gaussian(int64_t count, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// y [tokens, rows] = x [tokens, cols] w^T
std::vector<float> product(const std::vector<float>& x, const std::vector<float>& w, int64_t cols) {
  std::vector<float> y(static_cast<size_t>(kTokens * kRows));
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t r = 0; r < kRows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c)
        sum += static_cast<double>(x[t * cols + c]) * w[r * cols + c];
      y[static_cast<size_t>(t * kRows + r)] = static_cast<float>(sum);
    }
  }
  return y;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum);
}

// Weights in the order of a problem, in its basis.
std::vector<float> in_order(const CodingProblem& problem, const std::vector<float>& w,
                            const uint8_t* signs) {
  const int64_t padded = problem.cols();
  std::vector<float> wide(static_cast<size_t>(kRows * padded));
  for (int64_t r = 0; r < kRows; ++r) {
    std::copy_n(w.begin() + r * kCols, kCols, wide.begin() + r * padded);
  }
  if (signs != nullptr) codec::rotate(wide.data(), kRows, padded, signs);
  std::vector<float> out(wide.size());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < padded; ++c) {
      const int32_t from = problem.order()[static_cast<size_t>(c)];
      out[static_cast<size_t>(r * padded + c)] = wide[static_cast<size_t>(r * padded + from)];
    }
  }
  return out;
}

// The compressed model's inputs are a linear distortion of the original's, and its residual stream
// lacks something that is linear in them too: least squares finds the weights that make good both.
class UndoDrift : public testing::TestWithParam<bool> {};

TEST_P(UndoDrift, FindsTheWeightsThatReproduceTheOutputs) {
  base::ThreadTeam team(2);
  const std::vector<uint8_t> signs = codec::make_signs("x", kCols);
  const uint8_t* basis = GetParam() ? signs.data() : nullptr;
  const std::vector<float> x = gaussian(kTokens * kCols, 1);
  std::vector<float> original = x;  // x' = x (1 + 0.3 at the neighbour)
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c + 1 < kCols; ++c) original[t * kCols + c] += 0.3f * x[t * kCols + c + 1];
  }
  const std::vector<float> w = gaussian(kRows * kCols, 2);
  const std::vector<float> missing = product(x, gaussian(kRows * kCols, 3, 0.2f), kCols);
  const std::vector<float> none(missing.size());
  MomentSums sums(kCols, true, kRows);
  sums.add(x.data(), original.data(), kTokens, team);
  sums.add_residual(none.data(), missing.data(), x.data(), kTokens, team);
  const CodingProblem problem(sums.in_basis(basis), 1e-6, "test");

  std::vector<float> targets = in_order(problem, w, basis);
  const std::vector<float> before = targets;
  std::vector<float> scratch(targets.size());
  problem.undo_drift(1, 0, 2, targets.data(), scratch.data());  // in two parts, as chunks come
  problem.undo_drift(1, 2, kRows - 2, targets.data() + 2 * problem.cols(), scratch.data());

  // y' + (r' - r) against what the moved weights make of x.
  std::vector<float> wanted = product(original, w, kCols);
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += missing[i];
  std::vector<float> padded(static_cast<size_t>(kTokens * problem.cols()));
  for (int64_t t = 0; t < kTokens; ++t) {
    std::copy_n(x.begin() + t * kCols, kCols, padded.begin() + t * problem.cols());
  }
  if (basis != nullptr) codec::rotate(padded.data(), kTokens, problem.cols(), basis);
  std::vector<float> ordered(padded.size());
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < problem.cols(); ++c) {
      ordered[static_cast<size_t>(t * problem.cols() + c)] =
          padded[static_cast<size_t>(t * problem.cols() + problem.order()[static_cast<size_t>(c)])];
    }
  }
  const double without = distance(product(ordered, before, problem.cols()), wanted);
  const double with = distance(product(ordered, targets, problem.cols()), wanted);
  EXPECT_LT(with, 0.01 * without);
}

INSTANTIATE_TEST_SUITE_P(Bases, UndoDrift, testing::Bool(),
                         [](const auto& test) { return test.param ? "Rotated" : "Plain"; });

}  // namespace
}  // namespace upg::compression
