#include "runtime/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "upg/error.h"

namespace upg::runtime {
namespace {

using kernels::kPageTokens;
using kernels::KvType;
using testing::HasSubstr;

KvShape shape() { return {2, 3, 32, KvType::kF16, KvType::kQ8}; }

class Cache : public testing::Test {
 protected:
  std::unique_ptr<kernels::Backend> backend_ =
      kernels::create_backend({.device = "reference", .cpu = "", .threads = 1});
};

TEST_F(Cache, LayoutIsThatOfTheSeam) {
  EXPECT_EQ(shape().k_page_bytes(), 3u * 32 * 64);
  EXPECT_EQ(shape().v_page_bytes(), 3u * 32 * 34);
  EXPECT_EQ(shape().page_bytes(), 2u * 3 * 32 * 98);
  KvCache cache(*backend_, shape(), 5);
  EXPECT_EQ(cache.bytes(), 5u * 2 * 3 * 32 * 98);
  ASSERT_EQ(cache.layers().size(), 2u);
  for (const kernels::KvLayer& layer : cache.layers()) {
    EXPECT_EQ(layer.k_type, KvType::kF16);
    EXPECT_EQ(layer.v_type, KvType::kQ8);
    std::memset(layer.k, 1, 5 * shape().k_page_bytes());  // a sanitizer checks the size
    std::memset(layer.v, 2, 5 * shape().v_page_bytes());
  }
}

TEST_F(Cache, GrowsByWholePagesAndGivesThemBack) {
  KvCache cache(*backend_, shape(), 4);
  PageTable table;
  EXPECT_TRUE(cache.grow(table, 0, 1));
  EXPECT_EQ(cache.free_pages(), 3);
  EXPECT_TRUE(cache.grow(table, 1, 31));
  EXPECT_EQ(cache.free_pages(), 3);
  EXPECT_TRUE(cache.grow(table, 32, 33));
  EXPECT_EQ(table, (PageTable{0, 1, 2}));
  cache.truncate(table, 32);
  EXPECT_EQ(table, (PageTable{0}));
  EXPECT_EQ(cache.free_pages(), 3);
  cache.truncate(table, 0);
  EXPECT_EQ(cache.free_pages(), 4);
}

TEST_F(Cache, WhenFullNothingChanges) {
  KvCache cache(*backend_, shape(), 3);
  PageTable a;
  PageTable b;
  ASSERT_TRUE(cache.grow(a, 0, 2 * kPageTokens));
  ASSERT_TRUE(cache.grow(b, 0, 1));
  const PageTable before = b;
  EXPECT_FALSE(cache.grow(b, 1, kPageTokens));
  EXPECT_EQ(b, before);
  EXPECT_EQ(cache.free_pages(), 0);
  EXPECT_TRUE(cache.grow(b, 1, kPageTokens - 1));
  cache.truncate(a, 0);
  EXPECT_TRUE(cache.grow(b, kPageTokens, 1));
}

TEST_F(Cache, SharedPagesAreCopiedWhenWritten) {
  KvCache cache(*backend_, shape(), 4);
  PageTable a;
  ASSERT_TRUE(cache.grow(a, 0, 50));
  const kernels::KvLayer& layer = cache.layers()[1];
  const size_t bytes = shape().v_page_bytes();
  std::memset(layer.v + static_cast<size_t>(a[1]) * bytes, 77, bytes);

  PageTable b = cache.share(a, 40);
  EXPECT_EQ(b, a);
  EXPECT_EQ(cache.free_pages(), 2);
  ASSERT_TRUE(cache.grow(b, 40, 1));  // writes into page 1, which a holds too
  EXPECT_EQ(b[0], a[0]);
  ASSERT_NE(b[1], a[1]);
  EXPECT_EQ(cache.free_pages(), 1);
  EXPECT_EQ(std::memcmp(layer.v + static_cast<size_t>(b[1]) * bytes,
                        layer.v + static_cast<size_t>(a[1]) * bytes, bytes),
            0);
  ASSERT_TRUE(cache.grow(b, 41, 1));  // its own by now
  ASSERT_TRUE(cache.grow(a, 50, 1));
  EXPECT_EQ(cache.free_pages(), 1);

  cache.truncate(a, 0);
  EXPECT_EQ(cache.free_pages(), 2);  // page 0 is b's still
  cache.truncate(b, 0);
  EXPECT_EQ(cache.free_pages(), 4);
}

TEST_F(Cache, NoRoomForTheCopyIsNoRoom) {
  KvCache cache(*backend_, shape(), 1);
  PageTable a;
  ASSERT_TRUE(cache.grow(a, 0, 3));
  PageTable b = cache.share(a, 3);
  EXPECT_FALSE(cache.grow(b, 3, 1));
  EXPECT_EQ(b, a);
  cache.truncate(a, 0);
  EXPECT_TRUE(cache.grow(b, 3, 1));
}

// Against the plainest bookkeeping: which tables hold which page.
TEST_F(Cache, PagesAreNeitherLostNorWrittenByTwo) {
  struct Sequence {
    PageTable table;
    int length = 0;
  };
  constexpr int kPages = 20;
  KvCache cache(*backend_, shape(), kPages);
  std::mt19937 random(4);
  std::vector<Sequence> sequences;
  for (int round = 0; round < 5000; ++round) {
    const uint32_t action = random() % 5;
    if (sequences.empty() || action == 0) {
      if (sequences.size() < 6) sequences.emplace_back();
      continue;
    }
    const size_t pick = random() % sequences.size();
    Sequence& s = sequences[pick];
    if (action == 1) {
      s.length = static_cast<int>(random() % static_cast<uint32_t>(s.length + 1));
      cache.truncate(s.table, s.length);
    } else if (action == 2 && sequences.size() < 6) {
      const int tokens = static_cast<int>(random() % static_cast<uint32_t>(s.length + 1));
      Sequence fork{cache.share(s.table, tokens), tokens};
      sequences.push_back(fork);
    } else if (action == 3 && round % 4 == 0) {
      cache.truncate(s.table, 0);
      sequences.erase(sequences.begin() + static_cast<ptrdiff_t>(pick));
    } else {
      const int tokens = 1 + static_cast<int>(random() % 70);
      if (cache.grow(s.table, s.length, tokens)) {
        for (int page = s.length / kPageTokens; page < pages_for(s.length + tokens); ++page) {
          for (const Sequence& other : sequences) {  // what is written is in no other table
            if (&other == &s) continue;
            ASSERT_EQ(std::count(other.table.begin(), other.table.end(),
                                 s.table[static_cast<size_t>(page)]),
                      0);
          }
        }
        s.length += tokens;
      }
    }
    std::set<int32_t> held;
    for (const Sequence& sequence : sequences) {
      ASSERT_EQ(sequence.table.size(), static_cast<size_t>(pages_for(sequence.length)));
      held.insert(sequence.table.begin(), sequence.table.end());
    }
    ASSERT_EQ(static_cast<int>(held.size()) + cache.free_pages(), kPages);
  }
}

TEST(CachePlan, TakesTheModelsContextWhereItFits) {
  const CachePlan plan = plan_cache({1000, 0, 2, 100, 100'000});
  EXPECT_EQ(plan.context, 1000);
  EXPECT_EQ(plan.pages, 64);
}

TEST(CachePlan, TakesWhatHalfOfTheMemoryHolds) {
  const CachePlan plan = plan_cache({1000, 0, 2, 100, 4'100});
  EXPECT_EQ(plan.context, 10 * kPageTokens);
  EXPECT_EQ(plan.pages, 20);
}

TEST(CachePlan, WhatIsAskedForMayTakeAllOfIt) {
  const CachePlan plan = plan_cache({1000, 100, 1, 100, 400});
  EXPECT_EQ(plan.context, 100);
  EXPECT_EQ(plan.pages, 4);
}

TEST(CachePlan, RefusesByOption) {
  const auto refused = [](const CacheRequest& request, ErrorCode code, std::string_view text) {
    try {
      plan_cache(request);
      ADD_FAILURE() << text << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(std::string(text)));
    }
  };
  refused({1000, 1001, 1, 100, 1 << 20}, ErrorCode::kUsage, "context: found 1001, allowed 1 to");
  refused({1000, -1, 1, 100, 1 << 20}, ErrorCode::kUsage, "context: found -1");
  refused({1000, 0, 0, 100, 1 << 20}, ErrorCode::kUsage, "sequences: found 0");
  refused({1000, 129, 1, 100, 400}, ErrorCode::kOutOfMemory, "129 tokens need 500 bytes");
  refused({1000, 0, 1, 100, 100}, ErrorCode::kOutOfMemory, "KV cache");
  refused({1 << 20, 1 << 20, 65536, UINT64_C(1) << 50, 400}, ErrorCode::kInvalidData, "KV cache");
}

TEST(CachePlan, AbsurdContextsStayInRange) {
  const CachePlan plan = plan_cache({INT64_MAX, 0, 3, 1, UINT64_MAX});
  EXPECT_GT(plan.context, 0);
  EXPECT_LE(static_cast<int64_t>(plan.pages) * kPageTokens, INT32_MAX);
}

TEST(KvTypes, ByName) {
  EXPECT_EQ(parse_kv_type("cache_type_k", "f32", 80), KvType::kF32);
  EXPECT_EQ(parse_kv_type("cache_type_k", "f16", 80), KvType::kF16);
  EXPECT_EQ(parse_kv_type("cache_type_k", "q8_0", 64), KvType::kQ8);
  for (const auto& [name, head_dim] : {std::pair{"q8_0", 80}, {"q4_0", 64}, {"", 64}}) {
    try {
      parse_kv_type("cache_type_v", name, head_dim);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_THAT(error.what(), HasSubstr("cache_type_v: "));
    }
  }
}

}  // namespace
}  // namespace upg::runtime
