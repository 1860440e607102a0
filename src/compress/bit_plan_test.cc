#include "compress/bit_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace upg::compression {
namespace {

double sum_of(std::span<const BitItem> items, const std::vector<size_t>& chosen,
              double BitOption::*field) {
  double sum = 0;
  for (size_t i = 0; i < items.size(); ++i) sum += items[i][chosen[i]].*field;
  return sum;
}

// Every combination.
double best_loss(std::span<const BitItem> items, double budget) {
  double best = INFINITY;
  std::vector<size_t> at(items.size(), 0);
  while (true) {
    if (sum_of(items, at, &BitOption::size) <= budget) {
      best = std::min(best, sum_of(items, at, &BitOption::loss));
    }
    size_t i = 0;
    while (i < at.size() && ++at[i] == items[i].size()) at[i++] = 0;
    if (i == at.size()) return best;
  }
}

std::vector<BitItem> random_items(std::mt19937& random, int count) {
  std::uniform_real_distribution<double> weight(1, 5);
  std::uniform_real_distribution<double> loss(0.1, 10);
  std::vector<BitItem> items;
  for (int i = 0; i < count; ++i) {
    const double weights = weight(random);
    const double sensitivity = loss(random);
    items.push_back({{3 * weights, sensitivity},
                     {2 * weights, 3.8 * sensitivity},
                     {4 * weights, 0.26 * sensitivity}});
  }
  return items;
}

TEST(BitPlan, SpendsOnTheMostSensitive) {
  const std::vector<BitItem> items = {{{3, 1.0}, {4, 0.3}}, {{3, 9.0}, {4, 2.7}}, {{3, 2.0}}};
  EXPECT_EQ(choose_bits(items, 10.5), (std::vector<size_t>{0, 1, 0}));
  EXPECT_EQ(choose_bits(items, 11), (std::vector<size_t>{1, 1, 0}));
  EXPECT_EQ(choose_bits(items, 9), (std::vector<size_t>{0, 0, 0}));
}

TEST(BitPlan, SaysWhenNothingFits) {
  const std::vector<BitItem> items = {{{3, 1.0}, {2, 4.0}}, {{3, 9.0}}};
  EXPECT_FALSE(choose_bits(items, 4.9).has_value());
  EXPECT_EQ(least_size(items), 5);
  EXPECT_EQ(most_size(items), 6);
  EXPECT_TRUE(choose_bits(items, 5).has_value());
}

TEST(BitPlan, TakesBitsFromWhereTheyAreWorthLittle) {
  // The second gains more by a fourth bit than the first loses without its third.
  const std::vector<BitItem> items = {{{2, 0.04}, {3, 0.01}}, {{3, 9.0}, {4, 2.4}}};
  EXPECT_EQ(choose_bits(items, 6), (std::vector<size_t>{0, 1}));
}

TEST(BitPlan, PassesOverOptionsThatAreNeverBest) {
  const std::vector<BitItem> items = {{{8, 5.0}, {3, 1.0}, {4, 0.99}, {5, 0.1}, {5, 0.2}}};
  EXPECT_EQ(choose_bits(items, 8), (std::vector<size_t>{3}));
  EXPECT_EQ(choose_bits(items, 4.5), (std::vector<size_t>{1}));
}

TEST(BitPlan, CloseToTheBestOfAllCombinations) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    const std::vector<BitItem> items = random_items(random, 7);
    const double budget = least_size(items) * 1.55;
    const auto chosen = choose_bits(items, budget);
    ASSERT_TRUE(chosen.has_value());
    EXPECT_LE(sum_of(items, *chosen, &BitOption::size), budget);
    EXPECT_LE(sum_of(items, *chosen, &BitOption::loss), 1.35 * best_loss(items, budget));
  }
}

}  // namespace
}  // namespace upg::compression
