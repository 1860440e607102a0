#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace upg::base {
namespace {

TEST(ThreadTeamTest, EveryThreadRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.size(), threads);
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(threads));
      team.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      for (const auto& count : calls) EXPECT_EQ(count, 1);
    }
  }
}

// More threads than cores: most come too late for a loop this short, whose body is gone by then.
TEST(ThreadTeamTest, LateThreadsTouchNoFinishedLoop) {
  ThreadTeam team(8);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> calls(8);
    team.run([&, copy = std::vector<int>{round}](int thread) {
      calls[static_cast<size_t>(thread)] += copy[0] + 1;
    });
    for (const int count : calls) ASSERT_EQ(count, round + 1);
  }
}

TEST(ThreadTeamTest, RangesCoverAllInGrains) {
  for (const int threads : {1, 3, 4}) {
    ThreadTeam team(threads);
    for (const int64_t count : {0, 1, 7, 64, 65, 1000}) {
      for (const int64_t grain : {1, 4, 64}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        team.for_ranges(count, grain, [&](int64_t begin, int64_t end, int) {
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % grain, 0);
          EXPECT_TRUE(end % grain == 0 || end == count);
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& times : seen) EXPECT_EQ(times, 1);
      }
    }
  }
}

TEST(ThreadTeamTest, SameSplitEveryTime) {
  ThreadTeam team(3);
  const auto split = [&] {
    std::vector<std::pair<int64_t, int64_t>> ranges(3);
    team.for_ranges(100, 8, [&](int64_t begin, int64_t end, int thread) {
      ranges[static_cast<size_t>(thread)] = {begin, end};
    });
    return ranges;
  };
  const auto first = split();
  for (int round = 0; round < 20; ++round) EXPECT_EQ(split(), first);
}

TEST(ThreadTeamTest, EachIndexOnce) {
  ThreadTeam team(4);
  std::vector<std::atomic<int>> seen(1000);
  team.for_each(1000, [&](int64_t i, int thread) {
    EXPECT_TRUE(thread >= 0 && thread < 4);
    ++seen[static_cast<size_t>(i)];
  });
  for (const auto& times : seen) EXPECT_EQ(times, 1);
}

TEST(ThreadTeamTest, ExceptionsReachTheCallerAndTheTeamGoesOn) {
  ThreadTeam team(3);
  for (int thrower = 0; thrower < 3; ++thrower) {
    std::atomic<int> finished{0};
    EXPECT_THROW(team.run([&](int thread) {
      if (thread == thrower) throw std::runtime_error("x");
      ++finished;
    }),
                 std::runtime_error);
    EXPECT_EQ(finished, 2);
  }
  std::atomic<int> calls{0};
  team.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(ThreadTeamTest, DefaultIsAtLeastOne) { EXPECT_GE(default_threads(), 1); }

}  // namespace
}  // namespace upg::base
