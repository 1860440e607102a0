#include "runtime/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace upg::runtime {
namespace {

// Three tokens with probabilities 1/2, 1/4, 1/4; logits shifted by any constant say the same.
const std::vector<float> kHalf = {std::log(2.0f) + 5, 5, 5};
const std::vector<float> kEven = {-3, -3, -3};

TEST(ScorePosition, LogProbabilityOfTheTarget) {
  EXPECT_NEAR(score_position(kHalf, {}, 0).log_probability, std::log(0.5), 1e-6);
  EXPECT_NEAR(score_position(kHalf, {}, 2).log_probability, std::log(0.25), 1e-6);
  EXPECT_NEAR(score_position(kEven, {}, 1).log_probability, std::log(1.0 / 3), 1e-6);
}

TEST(ScorePosition, KlIsFromSourceToModel) {
  const double expected = 0.5 * std::log(0.5 * 3) + 2 * 0.25 * std::log(0.25 * 3);
  const PositionScores scores = score_position(kEven, kHalf, 0);
  EXPECT_NEAR(scores.kl, expected, 1e-6);
  EXPECT_NEAR(scores.source_log_probability, std::log(0.5), 1e-6);
  EXPECT_NEAR(score_position(kHalf, kHalf, 0).kl, 0, 1e-12);
}

TEST(ScorePosition, TopAgreesOnlyWhenItIsTheSameToken) {
  const std::vector<float> other = {0, 2, 1};
  EXPECT_TRUE(score_position(kHalf, kHalf, 0).same_top);
  EXPECT_FALSE(score_position(other, kHalf, 0).same_top);
}

TEST(ScorePosition, TheLastPositionPredictsNothing) {
  const PositionScores scores = score_position(kEven, kHalf, -1);
  EXPECT_EQ(scores.log_probability, 0);
  EXPECT_GT(scores.kl, 0);
}

}  // namespace
}  // namespace upg::runtime
