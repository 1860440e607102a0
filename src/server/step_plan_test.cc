#include "server/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace upg::server {
namespace {

using testing::ElementsAre;

TEST(StepPlan, WritersGoOnWhateverPromptsThereAre) {
  StepPlanner planner;
  const std::vector<int> pending = {1, 4000, 1, 1};
  for (int step = 0; step < 4; ++step) {
    const std::vector<int> granted = planner.plan(pending, {.tokens = 512, .prompt_tokens = 100});
    EXPECT_THAT(granted, ElementsAre(1, 100, 1, 1));
  }
}

TEST(StepPlan, MoreWritersThanAStepHolds) {
  StepPlanner planner;
  const std::vector<int> pending(5, 1);
  EXPECT_THAT(planner.plan(pending, {.tokens = 3}), ElementsAre(1, 1, 1, 0, 0));
}

// The short one has a step of its own; the long one has the next.
TEST(StepPlan, AShortPromptDoesNotWaitForALongOne) {
  StepPlanner planner;
  const StepBudget budget{.tokens = 512, .prompt_tokens = 128};
  EXPECT_THAT(planner.plan(std::vector<int>{4000, 20, 30}, budget), ElementsAre(0, 20, 30));
  EXPECT_THAT(planner.plan(std::vector<int>{4000, 25}, budget), ElementsAre(128, 0));
  EXPECT_THAT(planner.plan(std::vector<int>{3872, 25}, budget), ElementsAre(0, 25));
}

TEST(StepPlan, NoStreamOfShortOnesStarvesALongOne) {
  StepPlanner planner;
  const StepBudget budget{.tokens = 512, .prompt_tokens = 64};
  int left = 640;
  for (int step = 0; step < 20; ++step) {
    left -= planner.plan(std::vector<int>{left, 40}, budget)[0];
  }
  EXPECT_EQ(left, 0);
}

// Whatever there is, someone goes on, nobody gets more than is pending, and limits hold.
TEST(StepPlan, EveryStepGoesOnWithinItsLimits) {
  StepPlanner planner;
  uint32_t random = 7;
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> pending;
    for (int i = 0; i < 1 + static_cast<int>(random % 9); ++i) {
      random = random * 1664525 + 1013904223;
      pending.push_back(random % 3 == 0 ? 1 : 2 + static_cast<int>(random >> 20));
    }
    const StepBudget budget{.tokens = 64 + static_cast<int>(random % 512),
                            .prompt_tokens = 32 + static_cast<int>(random % 256)};
    int all = 0;
    int prompts = 0;
    const std::vector<int> granted = planner.plan(pending, budget);
    for (size_t i = 0; i < pending.size(); ++i) {
      EXPECT_GE(granted[i], 0);
      EXPECT_LE(granted[i], pending[i]);
      all += granted[i];
      if (pending[i] > 1) prompts += granted[i];
    }
    EXPECT_GT(all, 0);
    EXPECT_LE(all, budget.tokens);
    EXPECT_LE(prompts, budget.prompt_tokens);
  }
}

}  // namespace
}  // namespace upg::server
