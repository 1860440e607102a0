#include "base/probability.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace upg::base {
namespace {

TEST(Probability, LogSumExpOfLargeLogits) {
  const std::vector<float> logits = {1000.0f, 1000.0f};
  EXPECT_NEAR(log_sum_exp(logits), 1000 + std::log(2.0), 1e-12);
}

TEST(Probability, DivergenceOfTwoCoins) {
  const std::vector<float> p = {std::log(0.75f), std::log(0.25f)};
  const std::vector<float> q = {5 + std::log(0.5f), 5 + std::log(0.5f)};
  EXPECT_NEAR(kl_divergence(p, q), 0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-7);
  EXPECT_NEAR(kl_divergence(p, p), 0, 1e-15);
}

TEST(Probability, NotFiniteStaysVisible) {
  const std::vector<float> p = {0.0f, NAN};
  const std::vector<float> q = {0.0f, 0.0f};
  EXPECT_FALSE(std::isfinite(kl_divergence(p, q)));
}

}  // namespace
}  // namespace upg::base
